import { closeSync, constants, fstatSync, openSync } from 'node:fs'
import { readdir, readFile, stat } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { WherryError } from '../model/errors.ts'
import { tryLock } from '../sys/flock.ts'

/** A healthy nats-server ends within a second of SIGTERM. One that syncs to a slow disk gets more time. */
const TERM_WAIT_MS = 8_000

/** After SIGKILL only the kernel has to clean up. */
const KILL_WAIT_MS = 4_000

const POLL_MS = 50

/** A process that has the lock file open. */
interface LockUser {
  readonly pid: number
  readonly args: readonly string[]
}

/**
 * The lock on a directory of nats-server stores, which nats-server does not lock itself.
 * The server inherits the file descriptor, so the lock lives as long as the agent or any server that it started.
 */
export class StoreLock implements Disposable {
  /** For nats-server to inherit. */
  readonly fd: number
  #open = true

  constructor(fd: number) {
    this.fd = fd
  }

  /** Releases the lock. May be repeated: closing the number twice could close another file. */
  [Symbol.dispose](): void {
    if (this.#open) closeSync(this.fd)
    this.#open = false
  }
}

/**
 * Takes the lock. Ends a nats-server that a dead agent left running (SIGTERM, later SIGKILL). That is a process with
 * this lock file open and one of our configuration files on its command line.
 * STATE_LOCKED: another process holds the lock.
 */
export async function lockStore(path: string, configDir: string, log: Logger): Promise<StoreLock> {
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600)
  try {
    if (!tryLock(fd)) await evict(fd, path, configDir, log)
    return new StoreLock(fd)
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

async function evict(fd: number, path: string, configDir: string, log: Logger): Promise<void> {
  for (const [signal, waitMs] of [
    ['SIGTERM', TERM_WAIT_MS],
    ['SIGKILL', KILL_WAIT_MS],
  ] as const) {
    const users = await lockUsers(fd)
    const stranger = users.find((user) => !isOurServer(user, configDir))
    if (stranger !== undefined) throw lockedBy(path, `process ${stranger.pid} (${stranger.args.slice(0, 3).join(' ')})`)
    for (const user of users) {
      log.info({ pid: user.pid, signal }, 'ending a nats-server that an earlier agent left running')
      sendSignal(user.pid, signal)
    }
    const deadline = performance.now() + waitMs
    while (performance.now() < deadline) {
      if (tryLock(fd)) return
      await sleep(POLL_MS)
    }
  }
  throw lockedBy(path, 'a process that could not be ended')
}

function lockedBy(path: string, who: string): WherryError {
  return new WherryError('STATE_LOCKED', `${path} is locked by ${who}.`, {
    hint: 'Only one agent may use a state directory: stop the other one, or give this one a directory of its own.',
  })
}

function isOurServer(user: LockUser, configDir: string): boolean {
  const flag = user.args.indexOf('-c')
  return flag > 0 && user.args[flag + 1]?.startsWith(`${configDir}/`) === true
}

function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

/** Finds other processes with the lock file open, by device and inode: paths differ between mount namespaces. */
async function lockUsers(fd: number): Promise<LockUser[]> {
  const { dev, ino } = fstatSync(fd)
  const users: LockUser[] = []
  for (const name of await readdir('/proc')) {
    const pid = Number(name)
    if (!Number.isInteger(pid) || pid === process.pid) continue
    if (await hasOpen(pid, dev, ino)) users.push({ pid, args: await argumentsOf(pid) })
  }
  return users
}

async function hasOpen(pid: number, dev: number, ino: number): Promise<boolean> {
  const dir = `/proc/${pid}/fd`
  for (const fd of await readdir(dir).catch(() => [])) {
    const target = await stat(`${dir}/${fd}`).catch(() => null)
    if (target !== null && target.dev === dev && target.ino === ino) return true
  }
  return false
}

async function argumentsOf(pid: number): Promise<string[]> {
  const text = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
  return text.split('\0').filter((part) => part !== '')
}
