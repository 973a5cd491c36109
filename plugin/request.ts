import { z } from 'zod'
import { checkMountId, checkName } from '../agent/api/input.ts'
import { WherryError } from '../agent/model/errors.ts'
import type { VolumeOptions } from '../agent/model/model.ts'
import { parseOptions } from '../agent/model/volume-options.ts'

/**
 * A request as Docker and Podman send it. Neither sends a Content-Type. `Opts` is null or missing without options.
 * The body is empty when dockerd repeats a request after the connection broke: its client passes the same buffer,
 * already read, to the next attempt (moby, pkg/plugins/client.go, callWithRetry).
 */
export interface DriverRequest {
  /** True: dockerd lost the body, so it is unknown which volume is meant. */
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

/** Parses a body. Its fields are checked when they are read. REQUEST_INVALID: the body is not a JSON object. */
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
