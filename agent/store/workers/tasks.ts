import { copyRanges } from './copy-ranges.ts'
import { createFiles } from './create-files.ts'
import { hashBlocks, hashSome } from './hash-blocks.ts'
import { hashFiles, readFiles } from './read-small-files.ts'
import { spoolBlocks, spoolFiles } from './spool-blocks.ts'
import { writeBlocks } from './write-blocks.ts'

/** The tasks of a thread, by name. */
export const TASKS = {
  hashBlocks,
  hashSome,
  hashFiles,
  readFiles,
  createFiles,
  writeBlocks,
  copyRanges,
  spoolBlocks,
  spoolFiles,
} as const

export type TaskName = keyof typeof TASKS
export type Input<Name extends TaskName> = Parameters<(typeof TASKS)[Name]>[1]
export type Output<Name extends TaskName> = ReturnType<(typeof TASKS)[Name]>
