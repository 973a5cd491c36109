import { parentPort } from 'node:worker_threads'
import { Memory } from './memory.ts'
import { type Answer, buffersOf, pack, type Request } from './message.ts'
import { TASKS } from './tasks.ts'

/** One thread of the pool: does one task after the other. */
const memory = new Memory()

parentPort?.on('message', ({ id, name, input }: Request) => {
  const task = TASKS[name] as (memory: Memory, input: unknown) => unknown
  try {
    const output = task(memory, input)
    answer({ id, output }, buffersOf(output))
  } catch (error) {
    answer({ id, failure: pack(error, name) }, [])
  }
})

function answer(message: Answer, given: ArrayBuffer[]): void {
  parentPort?.postMessage(message, given)
}
