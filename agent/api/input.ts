import type { z } from 'zod'
import { WherryError } from '../model/errors.ts'

/** What Docker allows in a volume's name, at most as long as a file name: names become paths and keys. */
const LONGEST_NAME = 255
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/

/** Docker's mount ids are 64 hex digits. Other engines choose freely. */
const LONGEST_MOUNT_ID = 255

/** Returns the name as it is. Throws NAME_INVALID. */
export function checkName(name: string): string {
  if (NAME.test(name) && name.length <= LONGEST_NAME) return name
  throw new WherryError('NAME_INVALID', `"${shortened(name)}" cannot be the name of a volume.`, {
    hint: [
      'Use letters, digits, "_", "." and "-", a letter or digit first,',
      `at most ${LONGEST_NAME} in all, for example "data-1".`,
    ].join(' '),
  })
}

/** Returns the id as it is. Throws REQUEST_INVALID. */
export function checkMountId(mountId: string): string {
  if (mountId !== '' && mountId.length <= LONGEST_MOUNT_ID) return mountId
  throw new WherryError('REQUEST_INVALID', `A mount's id has 1 to ${LONGEST_MOUNT_ID} characters.`)
}

/** Parses a request's JSON body. Throws REQUEST_INVALID, naming every field that is wrong. */
export function parseJson<T>(schema: z.ZodType<T>, text: string): T {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new WherryError('REQUEST_INVALID', 'The request has no JSON body.', { cause })
  }
  const found = schema.safeParse(value)
  if (found.success) return found.data
  const problems = found.error.issues.map((issue) => `${issue.path.join('.') || 'body'}: ${issue.message}`)
  throw new WherryError('REQUEST_INVALID', `The request is wrong: ${problems.join('; ')}.`)
}

function shortened(text: string): string {
  return text.length <= LONGEST_NAME ? text : `${text.slice(0, LONGEST_NAME)}...`
}
