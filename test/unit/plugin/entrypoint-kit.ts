import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { untilTrue } from '../until.ts'

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))
export const ENTRYPOINT = join(ROOT, 'build/entrypoint')

/** As a container has them: the entrypoint is process 1 there, and sees no process of this machine. */
export const IN_CONTAINER = ['--pid', '--fork', '--kill-child', '--mount-proc']

export interface ProcessEnd {
  readonly code: number | null
  readonly stderr: string
}

export function buildEntrypoint(): void {
  execFileSync(join(ROOT, 'scripts/lib/build-entrypoint'), [ENTRYPOINT])
}

/** The real entrypoint as process 1 of its own namespaces, with `command` as the plugin's process. */
export async function startEntrypoint(
  command: readonly string[],
  options: { dir?: string; socket?: string; stderr?: number } = {},
) {
  const dir = options.dir ?? (await mkdtemp(join(tmpdir(), 'wherry-entrypoint-')))
  const socket = options.socket ?? join(dir, 'plugin.sock')
  const outer = spawn('unshare', [...IN_CONTAINER, ENTRYPOINT, socket, ...command], {
    env: { PATH: process.env.PATH, DIR: dir, WHERRY_LOG: 'silent' },
    stdio: ['ignore', 'ignore', options.stderr ?? 'pipe'],
  })
  const ended: Promise<ProcessEnd> = endOf(outer)
  await untilTrue(() => pluginChildrenOf(outer.pid ?? 0).some((pid) => argumentsOf(pid)[0] === ENTRYPOINT))
  const [pid = 0] = pluginChildrenOf(outer.pid ?? 0)
  return {
    dir,
    socket,
    /** Process 1, as this machine numbers it. */
    pid,
    ended,
    /** Nobody reads what it says any more. */
    closeStderr: () => void outer.stderr?.destroy(),
    isAlive: () => outer.exitCode === null,
    /** The plugin's processes that run; never more than one, unless there are orphans. */
    children: () => pluginChildrenOf(pid).filter((child) => argumentsOf(child)[0] === command[0]),
    diary: () => linesOf(join(dir, 'diary')),
    async [Symbol.asyncDispose]() {
      outer.kill('SIGKILL')
      await ended
      await rm(dir, { recursive: true, force: true })
    },
  }
}

export type Entrypoint = Awaited<ReturnType<typeof startEntrypoint>>

/** A shell script as the plugin's process; each start writes a line to `$DIR/diary`: when, in ms. */
export const script = (body: string) => ['/bin/sh', '-c', `date +%s%3N >>$DIR/diary; ${body}`]

export function pluginChildrenOf(pid: number): number[] {
  const found = readProc(`${pid}/task/${pid}/children`).trim()
  return found === '' ? [] : found.split(' ').map(Number)
}

/** Empty for a zombie. */
export function argumentsOf(pid: number): string[] {
  return readProc(`${pid}/cmdline`).split('\0').slice(0, -1)
}

export function readProc(file: string): string {
  try {
    return readFileSync(`/proc/${file}`, 'utf8')
  } catch {
    return ''
  }
}

function linesOf(file: string): string[] {
  return existsSync(file) ? readFileSync(file, 'utf8').split('\n').slice(0, -1) : []
}

async function endOf(child: ChildProcess): Promise<ProcessEnd> {
  const said = child.stderr === null ? '' : text(child.stderr).catch(() => '')
  const [[code], stderr] = await Promise.all([once(child, 'exit') as Promise<[number | null]>, said])
  return { code, stderr }
}
