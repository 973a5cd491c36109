import { codeOf, WherryError } from '../model/errors.ts'
import type { Trouble } from '../model/model.ts'
import { errnoOf } from '../sys/failure.ts'

/** The heartbeat carries no more than this: it is written every second. */
const TEXT_MOST_CHARACTERS = 400

/** Returns an error in short, for other hosts. */
export function troubleOf(error: unknown, now: Date): Trouble {
  const text = error instanceof WherryError ? error.toLine() : error instanceof Error ? error.message : String(error)
  return { code: errnoOf(error) ?? codeOf(error) ?? 'INTERNAL', text: shortened(text), since: now.toISOString() }
}

/** Returns a trouble with the time at which the same one began. Another code is another trouble. */
export function sameTrouble(before: Trouble | null | undefined, now: Trouble): Trouble {
  return before?.code === now.code ? { ...now, since: before.since } : now
}

/** Returns the text with a full stop, ready for another sentence: the kernel's messages have none. */
export function sentenceOf(text: string): string {
  return /[.!?]$/.test(text) ? text : `${text}.`
}

/** Drops the middle of a long text: paths begin and end with what tells them apart. */
export function shortened(text: string): string {
  if (text.length <= TEXT_MOST_CHARACTERS) return text
  const half = TEXT_MOST_CHARACTERS / 2
  return `${text.slice(0, half)} ... ${text.slice(-half)}`
}
