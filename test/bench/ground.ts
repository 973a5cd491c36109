import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, mkdirSync, mkdtempSync, openSync } from 'node:fs'
import { type CommandOptions, type CommandResult, run } from '../lab/harness/command.ts'
import { Guard } from '../lab/harness/guard.ts'
import { addressOfHost, createHostNetwork, createSwitch, namespaceOfHost, SWITCH } from '../lab/harness/network.ts'
import { writeRecord } from '../lab/harness/record.ts'
import { Ballast } from './ballast.ts'

/** Gigabytes end up here: a real disk, never memory. */
const DEFAULT_PLACE = '/var/tmp'

/** The largest case has 2 GiB three times, the one with the most copies (`postgres`) about 7 GiB in all. */
const DISK_BYTES = 12 * 1024 ** 3
/** Journal, inode tables, and room for a small try. */
const MIN_DISK_BYTES = 1024 ** 3
/** Three trees of 100,000 files and what replaces them. */
const INODES = 1_000_000
const PIECE_BYTES = 4 * 1024 ** 2
const FILL_TIMEOUT_MS = 10 * 60_000

/** One of the lab's hosts without an engine: a network namespace on the lab's switch and a directory. */
export class BenchHost {
  readonly name: string
  readonly address: string
  readonly directory: string
  readonly #namespace: string

  constructor(index: number, directory: string) {
    this.name = `h${index}`
    this.address = addressOfHost(index)
    this.directory = `${directory}/${this.name}`
    this.#namespace = namespaceOfHost(index)
    mkdirSync(this.directory)
  }

  /** Runs a program on this host to its end. */
  exec(command: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
    return run('nsenter', [`--net=/run/netns/${this.#namespace}`, ...command], options)
  }

  /** Starts a program on this host and talks with it; it ends with the ground at the latest. */
  spawn(command: readonly string[]): ChildProcess {
    return spawn('nsenter', [`--net=/run/netns/${this.#namespace}`, ...command], { stdio: ['pipe', 'pipe', 'pipe'] })
  }

  /** Starts a daemon on this host. Its input is no pipe: Node's pipes are sockets, and rsync takes one for a client. */
  serve(name: string, command: readonly string[]): void {
    const log = openSync(`${this.directory}/${name}.log`, 'a')
    spawn('nsenter', [`--net=/run/netns/${this.#namespace}`, ...command], { stdio: ['ignore', log, log] })
    closeSync(log)
  }
}

/**
 * The two lab hosts that the bench copies between, and its scratch directory. Like a lab, there is one at a time on a
 * machine, and whatever becomes of the process that started it, everything is taken down again.
 */
export class Ground implements AsyncDisposable {
  readonly directory: string
  readonly h1: BenchHost
  readonly h2: BenchHost
  readonly ballast: Ballast
  readonly #guard: Guard

  private constructor(directory: string, disk: string, ballast: Ballast, guard: Guard) {
    this.directory = directory
    this.h1 = new BenchHost(1, disk)
    this.h2 = new BenchHost(2, disk)
    this.ballast = ballast
    this.#guard = guard
  }

  /** `scale` as for the cases: how much of their full data the disk has to hold. */
  static async start(scale: number, log: (line: string) => void): Promise<Ground> {
    const guard = await Guard.start(log)
    try {
      const directory = mkdtempSync(`${process.env.WHERRY_LAB_DIR ?? DEFAULT_PLACE}/wherry-bench-`)
      writeRecord({ directory, namespaces: [SWITCH, namespaceOfHost(1), namespaceOfHost(2)] })
      await createSwitch()
      await Promise.all([createHostNetwork(1), createHostNetwork(2)])
      log('making a file system')
      const disk = await makeDisk(directory, Math.max(MIN_DISK_BYTES, DISK_BYTES * scale))
      return new Ground(directory, disk, await Ballast.prepare(`${directory}/ballast`), guard)
    } catch (error) {
      await guard.takeDown()
      throw error
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#guard.takeDown()
  }
}

/**
 * A file system of the bench's own, so that its syncs wait for nobody else's data and the machine's own file system does
 * not matter: an ext4 without a journal, for one, looks at every inode freed in the last minutes before it makes a file
 * (recently_deleted in fs/ext4/ialloc.c), and whoever is measured after a big deletion pays for it.
 */
async function makeDisk(directory: string, sizeBytes: number): Promise<string> {
  const image = `${directory}/disk.img`
  const place = `${directory}/disk`
  mkdirSync(place)
  // Written in full: the first write to a hole costs more than the second, and some peer would have to pay for it.
  const count = Math.ceil(sizeBytes / PIECE_BYTES)
  const fill = [`of=${image}`, `bs=${PIECE_BYTES}`, `count=${count}`, 'oflag=direct', 'status=none']
  await run('dd', ['if=/dev/zero', ...fill], { timeoutMs: FILL_TIMEOUT_MS })
  await run('mkfs.ext4', ['-q', '-m', '0', '-N', String(INODES), image], { timeoutMs: FILL_TIMEOUT_MS })
  // Direct: otherwise the page cache has everything twice.
  const { stdout } = await run('losetup', ['--find', '--show', '--direct-io=on', image])
  const device = stdout.trim()
  try {
    // Without the thread that goes on making inode tables while we measure.
    await run('mount', ['-o', 'noinit_itable', device, place])
  } finally {
    // While it is mounted this only says that the device goes with the mount.
    await run('losetup', ['--detach', device])
  }
  return place
}
