import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  rmdirSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { readMounts } from '../../../agent/sys/mounts.ts'

export type GroupVersion = 'v1' | 'v2'

const FILES = { v1: 'freezer.state', v2: 'cgroup.freeze' }
const WORDS = { v1: ['THAWED', 'FROZEN'], v2: ['0', '1'] } as const
/** Tries until the processes of a killed group are gone. */
const GONE_TRIES = 200

/**
 * A control group of this machine's kernel, as Docker makes one for a container.
 * A process in it counts all the time.
 */
export class ControlGroup implements AsyncDisposable {
  /** Used as the host's /sys/fs/cgroup. */
  readonly root: string
  readonly container = randomBytes(32).toString('hex')
  readonly #version: GroupVersion
  readonly #parent: string
  readonly #path: string
  readonly #directory: string
  readonly #count: string
  /** Opened once: a guard would block this process if it opened the file later. */
  #fd = -1
  #process: ChildProcess | undefined

  private constructor(version: GroupVersion, directory: string, parent: string) {
    this.#version = version
    this.root = version === 'v1' ? directory : parent
    this.#directory = directory
    this.#parent = parent
    this.#path = join(parent, 'some.slice', `docker-${this.container}.scope`)
    this.#count = join(directory, 'count')
  }

  static async make(version: GroupVersion): Promise<ControlGroup> {
    const [type, name] = version === 'v1' ? ['cgroup', '/freezer'] : ['cgroup2', '']
    const hierarchy = (await readMounts()).find((mount) => mount.fsType === type && mount.mountpoint.endsWith(name))
    if (hierarchy === undefined) throw new Error(`this machine has no control groups ${version}`)
    const directory = await mkdtemp(join(tmpdir(), 'wherry-groups-'))
    const parent = join(hierarchy.mountpoint, `wherry-test-${randomBytes(6).toString('hex')}`)
    const group = new ControlGroup(version, directory, parent)
    mkdirSync(group.#path, { recursive: true })
    group.#fd = openSync(group.file, 'r+')
    if (version === 'v1') symlinkSync(parent, join(directory, 'freezer'))
    const script = `i=0; while :; do i=$((i+1)); echo $i >${group.#count}; sleep 0.002; done`
    group.#process = spawn('sh', ['-c', script], { stdio: 'ignore' })
    writeFileSync(join(group.#path, 'cgroup.procs'), String(group.#process.pid))
    await group.runs()
    return group
  }

  get file(): string {
    return join(this.#path, FILES[this.#version])
  }

  /** The text that freezes or thaws, when it is written to the file. */
  word(frozen: boolean): string {
    return WORDS[this.#version][frozen ? 1 : 0]
  }

  /** Returns whether it was told to freeze: under load its processes do so a moment later ("FREEZING"). */
  isFrozen(): boolean {
    const into = Buffer.alloc(16)
    return into.toString('latin1', 0, readSync(this.#fd, into, 0, into.length, 0)).trim() !== this.word(false)
  }

  /** Freezes or thaws, as a process that opened the file before. */
  set(frozen: boolean): void {
    writeSync(this.#fd, this.word(frozen), 0)
  }

  /** Resolves when its process counts. */
  async runs(): Promise<void> {
    const before = this.#counted()
    while (this.#counted() === before) await sleep(2)
  }

  /** Returns whether its process does nothing for a while. */
  async standsStill(): Promise<boolean> {
    const before = this.#counted()
    await sleep(50)
    return this.#counted() === before
  }

  /** Ends it as a container ends: first its processes, then the group. */
  async end(): Promise<void> {
    if (this.#process === undefined) return
    const ended = once(this.#process, 'exit')
    this.#process.kill('SIGKILL')
    this.set(false)
    await ended
    closeSync(this.#fd)
    this.#process = undefined
    for (let tries = 1; ; tries++) {
      try {
        rmdirSync(this.#path)
        return
      } catch (error) {
        if (tries === GONE_TRIES) throw error
        await sleep(5)
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end()
    rmdirSync(join(this.#parent, 'some.slice'))
    rmdirSync(this.#parent)
    await rm(this.#directory, { recursive: true, force: true })
  }

  #counted(): string {
    try {
      return readFileSync(this.#count, 'latin1')
    } catch {
      return ''
    }
  }
}
