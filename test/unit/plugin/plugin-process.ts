import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { knock } from '../../../agent/api/http.ts'
import { pathsUnder } from '../../../agent/host/paths.ts'
import { untilTrue } from '../until.ts'
import { asDockerd, exchange } from './engine.ts'

const here = (file: string) => fileURLToPath(new URL(file, import.meta.url))
export const TINY_AGENT = here('tiny-agent.ts')

interface DiaryLine {
  readonly what: string
  readonly pid: number
  readonly atMs: number
}

/** The plugin's real process with a tiny agent, in a directory of its own; `spawnPlugin` starts it. */
export async function startProcess(env: Record<string, string> = {}) {
  const root = await mkdtemp(join(tmpdir(), 'wherry-'))
  const children: ChildProcess[] = []
  const diary = (what: string): DiaryLine[] =>
    (existsSync(join(root, 'diary')) ? readFileSync(join(root, 'diary'), 'utf8') : '')
      .split('\n')
      .map((line) => line.split(' '))
      .filter((words) => words[0] === what)
      .map(([what = '', pid, at]) => ({ what, pid: Number(pid), atMs: Number(at) }))
  const spawnPlugin = () => {
    const child = spawn(process.execPath, [here('run-plugin.ts'), TINY_AGENT, '--root', root], {
      env: { PATH: process.env.PATH, WHERRY_LOG: 'silent', ...env },
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    children.push(child)
    const ended = Promise.all([once(child, 'exit') as Promise<[number | null]>, text(child.stderr)])
    return { child, ended: ended.then(([[code], stderr]) => ({ code, stderr })) }
  }
  const { pluginSocket, agentSocket } = pathsUnder(root)
  return {
    root,
    diary,
    spawnPlugin,
    pluginSocket,
    agentSocket,
    call: (call: string, body?: object | string) => exchange(pluginSocket, asDockerd(call, body)),
    async [Symbol.asyncDispose]() {
      for (const child of children.filter((child) => child.exitCode === null && child.signalCode === null)) {
        child.kill('SIGKILL')
        await once(child, 'exit')
      }
      await untilTrue(() => diary('start').every(({ pid }) => !isAlive(pid)))
      await rm(root, { recursive: true, force: true })
    },
  }
}

/** The file is there a moment before anybody listens. */
export async function isServed(socket: string): Promise<boolean> {
  return existsSync(socket) && (await knock(socket)) === 'served'
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
