import { spawn } from 'node:child_process'
import { closeSync, mkdirSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { run } from './command.ts'
import { openLog } from './engine.ts'
import { SWITCH, SWITCH_ADDRESS } from './network.ts'
import { until } from './poll.ts'

export const REGISTRY = `${SWITCH_ADDRESS}:5000`

const PACKAGE_SCRIPT = fileURLToPath(new URL('../scripts/lib/debian-package', import.meta.url))
/** The registry's files within the lab's directory. */
export function registryDirectory(labDirectory: string): string {
  return `${labDirectory}/registry`
}

/** Where the registry's program is kept between runs. */
const PROGRAM_DIRECTORY = `${process.env.WHERRY_CACHE ?? '/var/cache/wherry'}/docker-registry`

/** Starts the lab's image registry on the switch; images and plugins take the way through it that users' take. */
export async function startRegistry(labDirectory: string): Promise<void> {
  await run(PACKAGE_SCRIPT, ['bookworm', 'docker-registry', PROGRAM_DIRECTORY])
  const directory = registryDirectory(labDirectory)
  mkdirSync(directory)
  writeFileSync(`${directory}/config.yml`, configuration(directory))
  const log = openLog(`${labDirectory}/registry.log`)
  const command = [`${PROGRAM_DIRECTORY}/usr/bin/docker-registry`, 'serve', `${directory}/config.yml`]
  const child = spawn('nsenter', [`--net=/run/netns/${SWITCH}`, ...command], {
    detached: true,
    stdio: ['ignore', log, log],
  })
  closeSync(log)
  child.unref()
  await until('the image registry', async () => (await askRegistry()).code === 0, { timeoutMs: 20_000, everyMs: 50 })
}

// The registry is not reachable from here but only from inside the lab: asking it means a program over there.
function askRegistry() {
  const script = `await fetch('http://${REGISTRY}/v2/')`
  const node = [process.execPath, '--input-type=module', '-e', script]
  return run('nsenter', [`--net=/run/netns/${SWITCH}`, ...node], { allowFailure: true })
}

function configuration(directory: string): string {
  return JSON.stringify({
    version: 0.1,
    log: { level: 'error', accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: directory } },
    // Otherwise it warns at every start that it made one up.
    http: { addr: REGISTRY, secret: 'lab' },
  })
}
