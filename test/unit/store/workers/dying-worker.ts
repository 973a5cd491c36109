import { parentPort } from 'node:worker_threads'
import type { TaskReply, TaskRequest } from '../../../../agent/store/workers/message.ts'

/** A thread of the pool that dies when a task says so. */
parentPort?.on('message', ({ id, input }: TaskRequest) => {
  const { names } = input as { names: string[] }
  if (names[0] === 'exit') process.exit(3)
  if (names[0] === 'throw') throw new Error('as asked')
  const output = { hashes: new Uint8Array(32), outcomes: new Uint16Array(1) }
  parentPort?.postMessage({ id, output } satisfies TaskReply)
})
