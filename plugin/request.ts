import { z } from 'zod'
import { checkMountId, checkName } from '../agent/api/input.ts'
import { parseDurationMs } from '../agent/host/setting.ts'
import { WherryError } from '../agent/model/errors.ts'
import type { VolumeOptions } from '../agent/model/model.ts'
import {
  DEFAULT_OPTIONS,
  LONGEST_CHECKPOINT_MS,
  MOST_COPIES,
  SHORTEST_CHECKPOINT_MS,
} from '../agent/model/volume-options.ts'

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

interface Option<T> {
  readonly what: string
  readonly example: string
  /** Undefined: the text is no good. */
  readonly parse: (text: string) => T | undefined
}

const id = (example: string): Option<number> => ({
  what: `a number from 0 to ${HIGHEST_ID}`,
  example,
  parse: (text) => (/^\d{1,10}$/.test(text) && Number(text) <= HIGHEST_ID ? Number(text) : undefined),
})

const oneOf = <T extends string>(first: T, ...others: T[]): Option<T> => ({
  what: [first, ...others].join(' or '),
  example: first,
  parse: (text) => [first, ...others].find((word) => word === text),
})

/** By the names Docker's users write; what is left out means DEFAULT_OPTIONS. */
const OPTIONS = {
  uid: { key: 'uid', ...id('999') },
  gid: { key: 'gid', ...id('999') },
  mode: { key: 'mode', what: 'an octal number from 0 to 7777', example: '0750', parse: parseMode },
  copies: { key: 'copies', what: `a number from 1 to ${MOST_COPIES}`, example: '2', parse: parseCopies },
  checkpoint: {
    key: 'checkpointMs',
    what: 'a time from 1s to 24h, auto or off',
    example: '10s',
    parse: parseCheckpoint,
  },
  consistency: { key: 'consistency', ...oneOf('pause', 'live') },
  failover: { key: 'failover', ...oneOf('auto', 'manual') },
  on_isolation: { key: 'onIsolation', ...oneOf('pause', 'continue') },
} as const satisfies Record<string, Option<unknown> & { key: keyof VolumeOptions }>

/** Docker's `-o key=value` pairs as options. Throws OPTION_INVALID that names all that is wrong and what is accepted. */
function parseOptions(given: Readonly<Record<string, string>>): VolumeOptions {
  const problems: string[] = []
  const options: Record<string, unknown> = { ...DEFAULT_OPTIONS }
  for (const [name, text] of Object.entries(given)) {
    if (!Object.hasOwn(OPTIONS, name)) {
      problems.push(`there is no option "${name}"`)
      continue
    }
    const { key, what, example, parse } = OPTIONS[name as keyof typeof OPTIONS]
    const value = parse(text)
    if (value === undefined) problems.push(`${name} must be ${what}, for example ${example}; it is "${text}"`)
    else options[key] = value
  }
  if (problems.length === 0) return options as unknown as VolumeOptions
  throw new WherryError('OPTION_INVALID', `Wrong options: ${problems.join('; ')}.`, {
    hint: `Accepted are ${Object.keys(OPTIONS).join(', ')}, for example -o uid=999 -o gid=999 -o mode=0750.`,
  })
}

function parseMode(text: string): number | undefined {
  return /^0{0,2}[0-7]{1,4}$/.test(text) ? Number.parseInt(text, 8) : undefined
}

function parseCopies(text: string): number | undefined {
  const copies = Number(text)
  return /^\d+$/.test(text) && copies >= 1 && copies <= MOST_COPIES ? copies : undefined
}

function parseCheckpoint(text: string): VolumeOptions['checkpointMs'] | undefined {
  if (text === 'off') return null
  if (text === 'auto') return 'auto'
  const ms = parseDurationMs(text)
  return ms !== undefined && ms >= SHORTEST_CHECKPOINT_MS && ms <= LONGEST_CHECKPOINT_MS ? ms : undefined
}
