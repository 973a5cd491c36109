import { z } from 'zod'
import { checkMountId, checkName } from '../agent/api/input.ts'
import { WherryError } from '../agent/errors.ts'
import type { VolumeOptions } from '../agent/model.ts'

/**
 * A request as Docker and Podman really send it. Neither sends a Content-Type. `Opts` is null or missing when there are
 * none. And the body is empty when dockerd repeats a request after the connection broke: its plugin client hands the
 * same, already read buffer to the next attempt (moby, pkg/plugins/client.go, callWithRetry).
 */
export interface DriverRequest {
  /** True: the body was lost on dockerd's side, nobody can tell which volume is meant. */
  readonly empty: boolean
  readonly name: () => string
  readonly mountId: () => string
  readonly options: () => VolumeOptions
}

const BODY = z.object({
  Name: z.string().nullish(),
  ID: z.string().nullish(),
  Opts: z.record(z.string(), z.string()).nullish(),
})

/** Parses a body; what it holds is checked when it is asked for. Throws REQUEST_INVALID for what is no JSON object. */
export function parseRequest(text: string): DriverRequest {
  const empty = text.trim() === ''
  const body = BODY.safeParse(empty ? {} : toJson(text))
  if (!body.success) {
    const problems = body.error.issues.map((issue) => `${issue.path.join('.') || 'body'}: ${issue.message}`)
    throw new WherryError('REQUEST_INVALID', `The engine's request is wrong: ${problems.join('; ')}.`)
  }
  const { Name, ID, Opts } = body.data
  const needBody = () => {
    if (empty) throw bodyLost()
  }
  return {
    empty,
    name: () => {
      needBody()
      return checkName(Name ?? '')
    },
    mountId: () => {
      needBody()
      return checkMountId(ID ?? '')
    },
    options: () => parseOptions(Opts ?? {}),
  }
}

function toJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new WherryError('REQUEST_INVALID', "The engine's request is not JSON.", { cause })
  }
}

function bodyLost(): WherryError {
  return new WherryError('REQUEST_INVALID', 'The engine repeated a request without its content.', {
    hint: 'This happens when the plugin was restarted in the middle of it; try again.',
  })
}

/** uid_t and gid_t have 32 bits; the highest value means "no change" to chown. */
const HIGHEST_ID = 4_294_967_294

const OPTIONS = {
  uid: { fallback: '0', what: `a number from 0 to ${HIGHEST_ID}`, example: '999', parse: parseId },
  gid: { fallback: '0', what: `a number from 0 to ${HIGHEST_ID}`, example: '999', parse: parseId },
  mode: { fallback: '0755', what: 'an octal number from 0 to 7777', example: '0750', parse: parseMode },
}

/** Docker's `-o key=value` pairs as options. Throws OPTION_INVALID that names all that is wrong and what is accepted. */
function parseOptions(given: Readonly<Record<string, string>>): VolumeOptions {
  const problems = Object.keys(given)
    .filter((key) => !Object.hasOwn(OPTIONS, key))
    .map((key) => `there is no option "${key}"`)
  const value = (key: keyof typeof OPTIONS): number => {
    const { fallback, what, example, parse } = OPTIONS[key]
    const text = given[key] ?? fallback
    const parsed = parse(text)
    if (parsed === undefined) problems.push(`${key} must be ${what}, for example ${example}; it is "${text}"`)
    return parsed ?? 0
  }
  const options = { uid: value('uid'), gid: value('gid'), mode: value('mode') }
  if (problems.length === 0) return options
  throw new WherryError('OPTION_INVALID', `Wrong options: ${problems.join('; ')}.`, {
    hint: `Accepted are ${Object.keys(OPTIONS).join(', ')}, for example -o uid=999 -o gid=999 -o mode=0750.`,
  })
}

function parseId(text: string): number | undefined {
  return /^\d{1,10}$/.test(text) && Number(text) <= HIGHEST_ID ? Number(text) : undefined
}

function parseMode(text: string): number | undefined {
  return /^0{0,2}[0-7]{1,4}$/.test(text) ? Number.parseInt(text, 8) : undefined
}
