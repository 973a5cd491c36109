import type { PackedError } from '../../runtime/thread-error.ts'
import type { TaskName } from './tasks.ts'

/** A task on its way to a thread. */
export interface TaskRequest {
  readonly id: number
  readonly name: TaskName
  readonly input: unknown
}

/** The outcome of a task on its way back. */
export type TaskReply =
  | { readonly id: number; readonly output: unknown }
  | { readonly id: number; readonly error: PackedError }

/** Returns the memory behind the arrays in a task's output: it is transferred instead of copied. */
export function buffersOf(value: unknown): ArrayBuffer[] {
  return [...new Set(arraysIn(value).map((array) => array.buffer as ArrayBuffer))]
}

function arraysIn(value: unknown): ArrayBufferView[] {
  if (ArrayBuffer.isView(value)) return [value]
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(arraysIn) : []
}
