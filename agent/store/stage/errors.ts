import { WherryError } from '../../model/errors.ts'

/** REQUEST_INVALID: a response does not match its request. */
export function responseMismatch(what: string): WherryError {
  return new WherryError('REQUEST_INVALID', `The sender's response does not match the request: ${what}.`)
}
