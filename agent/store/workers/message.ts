import { WherryError } from '../../model/errors.ts'
import { errnoOf, SystemCallError } from '../../sys/failure.ts'
import type { TaskName } from './tasks.ts'

export interface Request {
  readonly id: number
  readonly name: TaskName
  readonly input: unknown
}

export type Answer =
  | { readonly id: number; readonly output: unknown }
  | { readonly id: number; readonly failure: Failure }

/** An error on its way between threads: a structured clone keeps neither class nor code. `errno` undefined: a mistake of ours. */
export interface Failure {
  readonly call: string
  readonly path: string
  readonly errno: string | undefined
  readonly message: string
}

export function pack(error: unknown, name: TaskName): Failure {
  const errno = errnoOf(error)
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error)
  if (error instanceof SystemCallError) return { call: error.call, path: error.path, errno, message }
  const { syscall = name, path = 'an open file' } = error as NodeJS.ErrnoException
  return { call: syscall, path, errno, message }
}

export function unpack({ call, path, errno, message }: Failure): WherryError {
  if (errno !== undefined) return new SystemCallError(call, path, errno)
  return new WherryError('INTERNAL', `A task of the block pool failed: ${message}`)
}

/** The memory behind the arrays in a task's output, to be given away with a message instead of copied. */
export function buffersOf(value: unknown): ArrayBuffer[] {
  return [...new Set(arraysIn(value).map((array) => array.buffer as ArrayBuffer))]
}

function arraysIn(value: unknown): ArrayBufferView[] {
  if (ArrayBuffer.isView(value)) return [value]
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(arraysIn) : []
}
