import { WherryError } from '../../model/errors.ts'

/** A change of a volume's record was not confirmed; it may have happened all the same. */
export function unconfirmed(name: string, cause: unknown): WherryError {
  return new WherryError(
    'REGISTRY_UNAVAILABLE',
    `The registry did not confirm the change of volume "${name}" in time.`,
    {
      hint: cause instanceof WherryError ? cause.toLine() : 'Check that more than half of the nats-servers run.',
      cause,
    },
  )
}

/** Another host's reply does not have the shape it must have. `from`: that host. `about`: "its copy". */
export function malformedReply(from: string, about: string, cause: unknown): WherryError {
  return new WherryError('REQUEST_INVALID', `${from} sent a reply about ${about} that cannot be understood.`, {
    hint: 'Run the same version of Wherry on all hosts.',
    cause,
  })
}
