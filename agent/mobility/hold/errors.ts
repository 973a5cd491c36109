import { WherryError } from '../../model/errors.ts'
import type { Trouble, VolumeRecord } from '../../model/model.ts'
import type { LocalCopy } from '../../store/contract.ts'
import type { RunningCopy } from '../copy-contract.ts'
import { orPromote } from '../errors.ts'
import { sentenceOf } from '../trouble.ts'

/**
 * The holder is alive, no container uses the volume there, and it cannot release it.
 * `host`: its label.
 */
export function releaseFailed({ name }: VolumeRecord, host: string, { code, text, since }: Trouble): WherryError {
  return new WherryError(
    'RELEASE_FAILED',
    [
      `Volume "${name}" is held by host ${host},${code === 'COPY_DAMAGED' ? '' : ' where no container uses it, but'}`,
      `which cannot release it (${code}, since ${since}): ${sentenceOf(text)}`,
    ].join(' '),
    {
      // A writer has to be ended: promoting would lose what it writes.
      hint: `Repair that there; the volume then follows to this host by itself.${
        code === 'VOLUME_BUSY' ? '' : ` Or take the volume over without that: wherry promote ${name}`
      }`,
    },
  )
}

/** Why a Mount has to wait for the data, with progress (promise 9). `host`: this host's label. */
export function dataMissing(name: string, host: string, { lastError, from, isAway, view }: CopyStatus): WherryError {
  // However much of it comes, it never is what was asked for.
  if (lastError instanceof WherryError && lastError.code === 'COPY_DAMAGED') return lastError
  const isSilent = isAway && view.bytesPerSecond === 0 && lastError === null
  if (isSilent && from !== null) return sourceSilent(name, from)
  if (view.state !== 'running' || view.bytesTotal + view.filesTotal === 0) {
    if (lastError instanceof WherryError) return lastError
    const source = from === null ? '' : ` from ${from}`
    return new WherryError('COPY_RUNNING', `Volume "${name}" is about to be copied to this host${source}.`, {
      hint: 'The copy continues; start the container again in a moment.',
    })
  }
  const left = view.secondsLeft === null ? 'time left unknown' : `about ${view.secondsLeft} s left`
  return new WherryError(
    'COPY_RUNNING',
    [`Volume "${name}" is being copied from ${from ?? view.from} to ${host}:`, `${progressOf(view)}, ${left}.`].join(
      ' ',
    ),
    { hint: 'The copy continues; start the container again then, it joins the running copy.' },
  )
}

/** Empty files and directories have no bytes: then files are counted. */
function progressOf({ bytesDone, bytesTotal, filesDone, filesTotal }: CopyStatus['view']): string {
  const files = `${filesDone} of ${filesTotal} files`
  if (bytesTotal === 0) return `${files} (${Math.floor((100 * filesDone) / filesTotal)} %)`
  const percent = Math.floor((100 * bytesDone) / bytesTotal)
  return `${megabytes(bytesDone)} of ${megabytes(bytesTotal)} MB (${percent} %), ${files}`
}

/** The host with the data was asked for it and went away. `from`: its label, with for how long. */
function sourceSilent(name: string, from: string): WherryError {
  return new WherryError(
    'DATA_UNREACHABLE',
    `The newest data of volume "${name}" is on ${from}; no data comes from there.`,
    { hint: `It is retried as long as someone asks for the volume. ${orPromote('it never comes', name)}` },
  )
}

/** A running copy as `dataMissing` reads it. */
export interface CopyStatus {
  readonly lastError: Error | null
  /** Label of the host that was asked for data, with how long it has been away; null: none was asked. */
  readonly from: string | null
  readonly isAway: boolean
  readonly view: ReturnType<RunningCopy['view']>
}

/** Why a Mount has to wait although the data is here: the tree is compared with its checkpoint. */
export function checkRunning({ name, last }: VolumeRecord, host: string): WherryError {
  return new WherryError(
    'COPY_RUNNING',
    [
      `The copy of volume "${name}" on ${host} is still being compared with its checkpoint`,
      `(${megabytes(last?.bytes ?? 0)} MB).`,
    ].join(' '),
    { hint: 'That continues; start the container again in a moment.' },
  )
}

/** Why a Mount has to wait although this host has the volume: its release runs. */
export function stillReleasing(name: string, host: string): WherryError {
  return new WherryError('VOLUME_BUSY', `Host ${host} is still taking the final checkpoint of volume "${name}".`, {
    hint: 'That continues; start the container again in a moment.',
  })
}

/**
 * A removed volume of this name is still held here.
 * `trouble`: why it could not be cleared away; null: unknown.
 */
export function earlierHeld(name: string, host: string, trouble: Trouble | null): WherryError {
  const why = trouble === null ? 'it is being put away.' : `it cannot be put away: ${sentenceOf(trouble.text)}`
  return new WherryError(
    'VOLUME_BUSY',
    `Host ${host} still has a removed volume that had the name "${name}" in use; ${why}`,
    { hint: 'Start the container again once that has ended.' },
  )
}

/** By the registry this host has the volume, and its disk has no copy of it. */
export function holdsNothing({ name, id }: VolumeRecord, host: string): WherryError {
  return new WherryError(
    'COPY_DAMAGED',
    [
      `The registry says that this host (${host}) has volume "${name}" (id ${id}),`,
      'but there is no copy of it on its disk.',
    ].join(' '),
    {
      hint: [
        'Check that the state directory is the one used before (docker plugin inspect, setting state.source).',
        'Nothing empty is mounted in its place.',
      ].join(' '),
    },
  )
}

/** This host holds a volume that the registry does not know. */
export function recordLost({ name, id }: Pick<LocalCopy, 'name' | 'id'>, host: string): WherryError {
  return new WherryError(
    'COPY_DAMAGED',
    `Host ${host} holds volume "${name}" (id ${id}), but the registry has no such volume.`,
    { hint: 'The data stays on this disk. Run "wherry recover" before using the volume.' },
  )
}

/** The copy was removed while it was being released. */
export function copyGone(name: string): WherryError {
  return new WherryError('NOT_AT_CHECKPOINT', `The copy of volume "${name}" on this host is gone.`)
}

/** Another host asks about a hold that this host no longer has. */
export function otherHold(name: string, host: string, epoch: number, askedEpoch: number): WherryError {
  return new WherryError(
    'STALE_EPOCH',
    `Host ${host} holds volume "${name}" at epoch ${epoch}, the request was for epoch ${askedEpoch}.`,
  )
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(1)
}
