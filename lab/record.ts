import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'

/** What a lab has on this machine, written down before any of it is made: enough to take it down without its owner. */
export interface LabRecord {
  readonly directory: string
  /** Named network namespaces; every process of the lab is in one of them or in a pid namespace begun there. */
  readonly namespaces: readonly string[]
}

const DIRECTORY = '/run/wherry-lab'
const FILE = `${DIRECTORY}/record.json`
/** Held by the guard of the lab that is up: one lab at a time on a machine. */
export const LOCK_FILE = `${DIRECTORY}/lock`

export function prepareRecord(): void {
  mkdirSync(DIRECTORY, { recursive: true })
}

export function writeRecord(record: LabRecord): void {
  writeFileSync(`${FILE}.new`, JSON.stringify(record))
  renameSync(`${FILE}.new`, FILE)
}

export function readRecord(): LabRecord | null {
  if (!existsSync(FILE)) return null
  return JSON.parse(readFileSync(FILE, 'utf8')) as LabRecord
}

export function removeRecord(): void {
  rmSync(FILE, { force: true })
}
