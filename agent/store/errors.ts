import { WherryError } from '../model/errors.ts'
import type { SnapshotRef } from './tree-contract.ts'

export function unfinished(volume: string): WherryError {
  return new WherryError('COPY_DAMAGED', `The copy of volume ${volume} on this host is between two checkpoints.`, {
    hint: 'Wait: it is filled again by itself once a host that has the checkpoint can be reached.',
  })
}

export function damaged(volume: string, paths: readonly string[]): WherryError {
  const what = `The copy of volume ${volume} on this host is damaged: ${paths.join(', ')}.`
  return new WherryError('COPY_DAMAGED', what, {
    hint: "Check this host's disk. The copy is filled again from another host, which brings only what is damaged.",
  })
}

export function copyInUse(volume: string, how: 'held' | 'mounted'): WherryError {
  return new WherryError('VOLUME_IN_USE', `Volume ${volume} is ${how} on this host.`, {
    hint: 'Stop the containers that use it first.',
  })
}

export function scrubStopped(id: string): WherryError {
  return new WherryError(
    'VOLUME_IN_USE',
    `Volume ${id} is in use again: the check of its copy on this host was stopped.`,
    {
      hint: 'Check it again when it is idle.',
    },
  )
}

export function agentStops(): WherryError {
  return new WherryError('VOLUME_IN_USE', 'This agent is shutting down.', { hint: 'Check the copy again later.' })
}

export function writerOpen(volume: string, hint: string): WherryError {
  return new WherryError('COPY_RUNNING', `Volume ${volume} is being copied to this host.`, { hint })
}

export function locked(stateDir: string): WherryError {
  return new WherryError('STATE_LOCKED', `Another process has the state directory ${stateDir} open.`, {
    hint: 'Run one agent per state directory; stop the other one.',
  })
}

export function holdMissing(volume: string): WherryError {
  return new WherryError('STALE_EPOCH', `This host does not hold volume ${volume}, so it takes no checkpoint of it.`, {
    hint: 'Nothing needs to be done: the host that holds it takes them.',
  })
}

const TREES = {
  last: 'saved tree',
  spool: 'checkpoint in its spool',
  live: 'live capture',
  aside: 'capture set aside',
} as const satisfies Record<SnapshotRef['kind'], string>

export function noSuchTree(volume: string, kind: SnapshotRef['kind']): WherryError {
  return new WherryError('NOT_AT_CHECKPOINT', `Volume ${volume} has no ${TREES[kind]} on this host.`, {
    hint: kind === 'live' ? 'Ask for its last checkpoint.' : 'Ask a host that has a checkpoint of it.',
  })
}
