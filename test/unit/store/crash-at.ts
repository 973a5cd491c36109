import { pino } from 'pino'
import type { FaultPoint } from '../../../agent/runtime/fault-point.ts'
import { openStore } from '../../../agent/store/store.ts'

/** Kills this process, as kill -9 would, when it reaches a step for the `nth` time; at no step when that is ''. */
export function dieAt(step: string, nth: number): FaultPoint {
  let left = nth
  return (name) => {
    if (name !== step) return
    left -= 1
    if (left === 0) process.kill(process.pid, 'SIGKILL')
  }
}

/** The store of a child process that dies at a step. */
export function crashingStore(stateDir: string, step: string, nth: string) {
  const log = pino({ level: 'silent' })
  const faultPoint = dieAt(step, Number(nth))
  return openStore({ stateDir, mountRoot: `${stateDir}/mnt`, trashRetentionMs: 0, log, faultPoint })
}
