import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Host } from '../../lab/host.ts'
import { PLUGIN_PROCESSES } from '../../lab/plugin-processes.ts'
import type { Process } from '../../lab/processes.ts'
import { VICTIMS } from './killer.ts'

/** Longer than dockerd waits for the socket of a plugin that it has started. */
const STORM_MS = 4_000

/** Process 1 of the host's plugin. */
export function entrypointOf(host: Host): Process {
  const [found, ...others] = host.processes(PLUGIN_PROCESSES.entrypoint)
  if (found === undefined || others.length > 0)
    throw new Error(`${host.name} has ${others.length} entrypoints too many`)
  return found
}

/** Kills every process of the plugin but process 1, again `everyMs` later, and so on for some seconds. */
export async function killOverAndOver(host: Host, everyMs: number): Promise<void> {
  const endMs = performance.now() + STORM_MS
  while (performance.now() < endMs) {
    for (const { pid } of Object.values(VICTIMS).flatMap((pattern) => host.processes(pattern))) killIfThere(pid)
    await sleep(everyMs)
  }
}

/** Children of a process, zombies included. */
export function childrenOf({ pid }: Process): number {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).length
}

/** The death of one takes others with it. */
function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
