import { parentPort } from 'node:worker_threads'
import { packError } from '../../runtime/thread-error.ts'
import { Memory } from './memory.ts'
import { buffersOf, type TaskReply, type TaskRequest } from './message.ts'
import { taskError } from './task-error.ts'
import { TASKS } from './tasks.ts'

/** One thread of the pool: runs one task after the other. */
const memory = new Memory()

parentPort?.on('message', ({ id, name, input }: TaskRequest) => {
  const task = TASKS[name] as (memory: Memory, input: unknown) => unknown
  try {
    const output = task(memory, input)
    reply({ id, output }, buffersOf(output))
  } catch (error) {
    reply({ id, error: packError(taskError(error, name)) }, [])
  }
})

function reply(message: TaskReply, given: ArrayBuffer[]): void {
  parentPort?.postMessage(message, given)
}
