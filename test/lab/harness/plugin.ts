import { cpSync, existsSync, mkdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { run } from './command.ts'
import type { Host } from './host.ts'
import { REGISTRY } from './registry.ts'

/** Settings for `docker plugin set`, by name: WHERRY_... */
export type PluginSettings = Readonly<Record<string, string>>

const BUILD_SCRIPT = fileURLToPath(new URL('../../../scripts/build-plugin', import.meta.url))
const CERTS_SCRIPT = fileURLToPath(new URL('../../../scripts/certs', import.meta.url))

/** Builds the plugin (unless a built one is given) and pushes it to the lab's registry from a host; answers its reference. */
export async function publishPlugin(host: Host, labDirectory: string, built?: string): Promise<string> {
  const directory = built ?? `${labDirectory}/plugin`
  if (built === undefined) await run(BUILD_SCRIPT, [directory])
  const reference = `${REGISTRY}/wherry:lab`
  await host.docker(['plugin', 'create', reference, directory])
  await host.docker(['plugin', 'push', reference])
  await host.docker(['plugin', 'rm', reference])
  return reference
}

/** Installs and enables the plugin on a host the way users do it. */
export async function installPlugin(host: Host, reference: string, settings: PluginSettings): Promise<void> {
  const words = Object.entries(settings).map(([name, value]) => `${name}=${value}`)
  const install = ['plugin', 'install', '--grant-all-permissions', '--disable', '--alias', 'wherry', reference]
  await host.docker([...install, ...words])
  await host.docker(['plugin', 'enable', '--timeout', '0', 'wherry'])
}

/** Gives every host its certificates, as an administrator would put them there. */
export async function placeCertificates(hosts: readonly Host[], labDirectory: string): Promise<void> {
  const made = `${labDirectory}/certificates`
  await run(CERTS_SCRIPT, [made, ...hosts.map(({ address }) => address)])
  for (const host of hosts) {
    const place = `${host.stateDir}/tls`
    if (!existsSync(place)) mkdirSync(place, { recursive: true, mode: 0o700 })
    cpSync(`${made}/${host.address}`, place, { recursive: true })
  }
}
