import { cpSync, globSync, readFileSync, renameSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { run } from './command.ts'
import type { Host } from './host.ts'

/**
 * The kernel has one wall clock for all hosts of a lab, so what is stepped is what Wherry's plugin and agent on one
 * host see of it: libfaketime (Debian) stands between them and the C library. CLOCK_MONOTONIC, CLOCK_BOOTTIME and the
 * times of files stay true, as on a machine whose clock was set. nats-server is not stepped: programs in Go ask the
 * kernel without the C library.
 */

const BUILD_SCRIPT = fileURLToPath(new URL('../scripts/build-plugin', import.meta.url))
const LIBRARY = 'libfaketimeMT.so.1'
/** In the state directory: it can be changed while the plugin runs. */
const OFFSET_FILE = 'clock-offset'

const ENVIRONMENT = {
  LD_PRELOAD: `/usr/lib/${LIBRARY}`,
  FAKETIME_TIMESTAMP_FILE: `/var/lib/wherry/${OFFSET_FILE}`,
  FAKETIME_NO_CACHE: '1',
  FAKETIME_DONT_FAKE_MONOTONIC: '1',
  NO_FAKE_STAT: '1',
}

/** Builds a plugin whose wall clock `stepClock` sets. */
export async function buildSteppedPlugin(directory: string): Promise<void> {
  const library = globSync(`/usr/lib/*/faketime/${LIBRARY}`)[0]
  if (library === undefined) throw new Error('libfaketime is not installed here; run scripts/setup lab.')
  await run(BUILD_SCRIPT, [directory])
  cpSync(library, `${directory}/rootfs/usr/lib/${LIBRARY}`, { preserveTimestamps: true })
  const file = `${directory}/config.json`
  const { atime, mtime } = statSync(file)
  const config = JSON.parse(readFileSync(file, 'utf8'))
  for (const [name, value] of Object.entries(ENVIRONMENT)) config.env.push({ name, value })
  writeFileSync(file, JSON.stringify(config))
  // What was pushed once is known again by the times of its files.
  utimesSync(file, atime, mtime)
}

/**
 * Sets the wall clock of the plugin and the agent of a running host: so many seconds from the true time. At once, for
 * what runs and for what starts later.
 */
export function stepClock(host: Host, offsetSeconds: number): void {
  const file = `${host.stateSeen}/${OFFSET_FILE}`

  // By a rename: it is read at any moment.
  writeFileSync(`${file}.new`, `${offsetSeconds < 0 ? '-' : '+'}${Math.abs(offsetSeconds)}\n`)
  renameSync(`${file}.new`, file)
}
