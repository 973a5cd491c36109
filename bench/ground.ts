import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, mkdirSync, mkdtempSync, openSync } from 'node:fs'
import { type CommandOptions, type CommandResult, run } from '../lab/command.ts'
import { LabGuard } from '../lab/guard.ts'
import { addressOfHost, createHostNetwork, createSwitch, namespaceOfHost, SWITCH } from '../lab/network.ts'
import { writeRecord } from '../lab/record.ts'
import { Ballast } from './ballast.ts'
import { benchPlace, type Disk, makeDisk } from './disk.ts'

/** The largest case has 2 GiB three times, the one with the most copies (`postgres`) about 7 GiB in all. */
const DISK_BYTES = 12 * 1024 ** 3
/** Journal, inode tables, and room for a small try. */
const MIN_DISK_BYTES = 1024 ** 3

/** What has crossed a host's cable, headers and all. */
export interface Traffic {
  readonly sentBytes: number
  readonly receivedBytes: number
}

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

  /** Counted since the host was made. */
  async traffic(): Promise<Traffic> {
    // Of the cable's line in proc(5)'s /proc/net/dev: bytes received first, bytes sent ninth.
    const { stdout } = await this.exec(['cat', '/proc/net/dev'])
    const counts = /eth0:\s*(.+)/.exec(stdout)?.[1]?.split(/\s+/).map(Number) ?? []
    const [receivedBytes = Number.NaN, , , , , , , , sentBytes = Number.NaN] = counts
    return { sentBytes, receivedBytes }
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
export class BenchGround implements AsyncDisposable {
  readonly directory: string
  readonly h1: BenchHost
  readonly h2: BenchHost
  readonly ballast: Ballast
  /** Both hosts' directories are on it. */
  readonly disk: Disk
  readonly #guard: LabGuard

  private constructor(directory: string, disk: Disk, ballast: Ballast, guard: LabGuard) {
    this.directory = directory
    this.disk = disk
    this.h1 = new BenchHost(1, disk.place)
    this.h2 = new BenchHost(2, disk.place)
    this.ballast = ballast
    this.#guard = guard
  }

  /** `scale` as for the cases: how much of their full data, `fullBytes`, the disk has to hold. */
  static async start(scale: number, log: (line: string) => void, fullBytes = DISK_BYTES): Promise<BenchGround> {
    const guard = await LabGuard.start(log)
    try {
      const directory = mkdtempSync(`${benchPlace()}/wherry-bench-`)
      writeRecord({ directory, namespaces: [SWITCH, namespaceOfHost(1), namespaceOfHost(2)] })
      await createSwitch()
      await Promise.all([createHostNetwork(1), createHostNetwork(2)])
      log('making a file system')
      const disk = await makeDisk(directory, 'disk', 'ext4', Math.max(MIN_DISK_BYTES, fullBytes * scale))
      return new BenchGround(directory, disk, await Ballast.prepare(`${directory}/ballast`), guard)
    } catch (error) {
      await guard.takeDown()
      throw error
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#guard.takeDown()
  }
}
