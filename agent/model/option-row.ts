import type { z } from 'zod'

/** zod as a parameter: the command line reads tables of schemas and does not load zod, which takes 35 ms. */
export type Zod = typeof z

/** One row of the table of volume options: all there is to know of an option except its use. */
export interface OptionRow<T> {
  /** The name after Docker's `-o`; missing: the same as the key. */
  readonly flag?: string
  /** What is stored in records and sent to the agent. */
  readonly schema: (zod: Zod) => z.ZodType<T>
  /** What a value must be, as it follows "must be" in the message to the user. */
  readonly accepts: string
  readonly example: string
  /** Parses what the user typed; undefined: not a value of this option. */
  readonly parse: (text: string) => T | undefined
  /** Prints a value as the user types it. */
  readonly show: (value: T) => string
  /** The value of a volume created without this option. */
  readonly fallback: T
  /** True: a record without it is damaged. Otherwise such a record is older and means `fallback`. */
  readonly inEveryRecord?: true
}

/** The highest uid and gid: to chown, 2^32 - 1 means "do not change the owner". */
const HIGHEST_ID = 4_294_967_294

/** An option whose value is a user or group id. */
export function idOption(): OptionRow<number> {
  return {
    schema: (zod) => zod.int().min(0).max(HIGHEST_ID),
    accepts: `a number from 0 to ${HIGHEST_ID}`,
    example: '999',
    parse: (text) => (/^\d{1,10}$/.test(text) && Number(text) <= HIGHEST_ID ? Number(text) : undefined),
    show: String,
    fallback: 0,
    inEveryRecord: true,
  }
}

/** An option whose value is one of some words. The first one is the fallback. */
export function wordOption<const T extends string>(fallback: T, ...others: T[]): OptionRow<T> {
  const words = [fallback, ...others]
  return {
    schema: (zod) => zod.enum(words),
    accepts: words.join(' or '),
    example: fallback,
    parse: (text) => words.find((word) => word === text),
    show: String,
    fallback,
  }
}
