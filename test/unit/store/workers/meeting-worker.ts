import { parentPort } from 'node:worker_threads'
import type { TaskReply, TaskRequest } from '../../../../agent/store/workers/message.ts'

const WAIT_MS = 10_000

/** A thread of the pool that says whether a second one works at the same time. */
parentPort?.on('message', ({ id, input }: TaskRequest) => {
  const met = (input as { ranges: Int32Array }).ranges
  Atomics.add(met, 0, 1)
  Atomics.notify(met, 0)
  const output = Atomics.load(met, 0) === 2 || Atomics.wait(met, 0, 1, WAIT_MS) !== 'timed-out' ? 'met' : 'alone'
  parentPort?.postMessage({ id, output } satisfies TaskReply)
})
