import { codeOf, WherryError } from '../model/errors.ts'
import type { Trouble } from '../model/model.ts'
import { errnoOf } from '../sys/failure.ts'

/** The heartbeat carries no more than this: it is written every second. */
const TEXT_MOST_CHARACTERS = 400

/** An error in short, for other hosts. */
export function troubleOf(error: unknown, now: Date): Trouble {
  const text = error instanceof WherryError ? error.toLine() : error instanceof Error ? error.message : String(error)
  return { code: errnoOf(error) ?? codeOf(error) ?? 'INTERNAL', text: shortened(text), since: now.toISOString() }
}

/** Ready for another sentence after it: the kernel's words have no full stop. */
export function sentenceOf(text: string): string {
  return /[.!?]$/.test(text) ? text : `${text}.`
}

/** The middle of what is too long says least: paths begin and end with what tells them apart. */
function shortened(text: string): string {
  if (text.length <= TEXT_MOST_CHARACTERS) return text
  const half = TEXT_MOST_CHARACTERS / 2
  return `${text.slice(0, half)} ... ${text.slice(-half)}`
}
