import { createHash } from 'node:crypto'
import { cpSync, existsSync, globSync, mkdirSync, mkdtempSync, renameSync, rmSync, statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { run } from './command.ts'
import type { Host } from './host.ts'
import { REGISTRY, registryDirectory } from './registry.ts'

/** Settings for `docker plugin set`, by name: WHERRY_... */
export type PluginSettings = Readonly<Record<string, string>>

const BUILD_SCRIPT = fileURLToPath(new URL('../scripts/build-plugin', import.meta.url))
const CERTS_SCRIPT = fileURLToPath(new URL('../scripts/certs', import.meta.url))

/**
 * What the registry keeps of a pushed plugin, by the plugin's contents: to create and push 190 MB takes several
 * seconds.
 */
const CACHE = `${process.env.WHERRY_CACHE ?? '/var/cache/wherry'}/pushed-plugins`
/** Each is 60 MB; those of sources that have changed since are of no use. */
const KEPT = 3

/** Builds the plugin (unless a built one is given) and has it in the lab's registry; returns its reference. */
export async function publishPlugin(host: Host, labDirectory: string, built?: string): Promise<string> {
  const directory = built ?? `${labDirectory}/plugin`
  if (built === undefined) await run(BUILD_SCRIPT, [directory])
  const reference = `${REGISTRY}/wherry:lab`
  const storage = registryDirectory(labDirectory)
  const kept = `${CACHE}/${await contentsOf(directory)}`
  if (existsSync(kept)) {
    await run('cp', ['--archive', `${kept}/.`, storage])
    await run('touch', [kept])
    return reference
  }
  await host.docker(['plugin', 'create', reference, directory])
  await host.docker(['plugin', 'push', reference])
  await host.docker(['plugin', 'rm', reference])
  await keep(storage, kept)
  return reference
}

/** Names what is in a built plugin by names, modes and contents, without the compile cache, which differs each time. */
async function contentsOf(directory: string): Promise<string> {
  const files = ['.', '-path', './rootfs/app/build/compiled', '-prune', '-o', '-type', 'f', '-printf', '%P %m\\n']
  const { stdout } = await run('find', [...files, '-exec', 'sha256sum', '{}', '+'], { cwd: directory })
  return createHash('sha256').update(stdout.split('\n').sort().join('\n')).digest('hex').slice(0, 16)
}

/** Copies from the registry's storage what belongs to the plugin: its repository and the blobs that this names. */
async function keep(storage: string, kept: string): Promise<void> {
  const repository = 'docker/registry/v2/repositories/wherry'
  const { stdout } = await run('find', [`${storage}/${repository}`, '-name', 'link', '-exec', 'cat', '{}', '+'])
  const digests = new Set(stdout.match(/[0-9a-f]{64}/g))
  const blobs = [...digests].map((digest) => `docker/registry/v2/blobs/sha256/${digest.slice(0, 2)}/${digest}`)
  mkdirSync(CACHE, { recursive: true })
  const work = mkdtempSync(`${CACHE}/.keep-`)
  await run('cp', ['--archive', '--parents', repository, ...blobs, work], { cwd: storage })
  renameSync(work, kept)
  const oldest = globSync(`${CACHE}/*`).sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs)
  for (const path of oldest.slice(KEPT)) rmSync(path, { recursive: true, force: true })
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
    const place = `${host.stateSeen}/tls`
    if (!existsSync(place)) mkdirSync(place, { recursive: true, mode: 0o700 })
    cpSync(`${made}/${host.address}`, place, { recursive: true })
  }
}
