import { sentenceOf } from '../mobility/trouble.ts'
import { checkpointTargetMs } from '../model/volume-options.ts'
import type { MoveView, VolumeView } from './contract.ts'

/** Text of a volume's state, one line each, the same in `docker volume inspect` and in the `wherry` command. */

const SIZE_UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'] as const

/** Prints bytes with a unit: 1.5 GB. */
export function formatSize(bytes: number): string {
  let amount = bytes
  let unit = 0
  while (amount >= 999.5 && unit < SIZE_UNITS.length - 1) {
    amount /= 1000
    unit++
  }
  return `${unit === 0 || amount >= 99.5 ? Math.round(amount) : amount.toFixed(1)} ${SIZE_UNITS[unit]}`
}

/** Prints a span of time with a unit: 12 s, 5 min, 3 h, 2 d. */
export function formatAge(seconds: number): string {
  if (seconds < 120) return `${Math.max(0, Math.round(seconds))} s`
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`
  return `${Math.round(seconds / 86_400)} d`
}

/** Prints how far a copy is. Empty files have no bytes, so files are counted too. */
export function formatProgress(move: Pick<MoveView, 'bytesDone' | 'bytesTotal' | 'filesDone' | 'filesTotal'>): string {
  const { bytesDone, bytesTotal, filesDone, filesTotal } = move
  return `${formatSize(bytesDone)} of ${formatSize(bytesTotal)}, ${filesDone} of ${filesTotal} files`
}

/** Prints one copy: its state, its checkpoint, and what is wrong with it. */
export function formatCopy({ host, state, epoch, seq, awaySince, why }: VolumeView['copies'][number]): string {
  if (awaySince !== null) return `${host}: away since ${awaySince} (was ${state}, ${place({ epoch, seq })})`
  return `${host}: ${state} (${place({ epoch, seq })}${why === null ? '' : `; ${why}`})`
}

/** Lists what is unusual about a volume, each line with its subject. A subject may come more than once. */
export function describeConditions(view: VolumeView): readonly (readonly [string, string])[] {
  const lines: readonly (readonly [string, string | null])[] = [
    ['hosts', view.hostsUnknown ? 'this agent has just started: which hosts are away is not known yet' : null],
    ['holder_away', view.holder?.away ?? null],
    ['stuck', describeStuck(view)],
    ['holder_disk', describeDisk(view)],
    ['checkpoint_age', describeElsewhere(view)],
    ['checkpoints', describeCheckpointing(view)],
    ['checkpoints_late', describeLate(view)],
    ['consistency', describeConsistency(view)],
    ['fenced', describeFenced(view)],
    ['taken_over', describeSeizure(view)],
    ['earlier_volume', describePredecessor(view)],
    ...describeDiverged(view).map((line) => ['diverged', line] as const),
    ['local_namesake', describeNamesakes(view)],
    ['stale', view.stale ? `${describeOutage(view)}: this is the last known state` : null],
  ]
  return lines.filter((line): line is readonly [string, string] => line[1] !== null)
}

/** Since when the registry has not replied to this host, at least. */
export function describeOutage({ staleSince }: { readonly staleSince?: string }): string {
  return `the registry has not replied to this host${staleSince === undefined ? '' : ` since ${staleSince}`}`
}

/** Why the holder cannot release the volume, and what the operator can do; null: it can. */
function describeStuck({ stuck, name }: VolumeView): string | null {
  if (stuck === null) return null
  const { host, code, text, since } = stuck
  const what = `${host} cannot release it, since ${since} (${code}): ${sentenceOf(text)}`
  return code === 'VOLUME_BUSY' ? `${what} End it there.` : `${what} Fix that there, or run: wherry promote ${name}`
}

/** Why the holder cannot write its state directory; null: it can. */
function describeDisk({ unwritable }: VolumeView): string | null {
  if (unwritable === null) return null
  const { host, code, text, since } = unwritable
  return `${host} cannot write its state directory, since ${since} (${code}): ${text}`
}

/** Why the newest checkpoint does not reach other hosts; null: it does. */
function describeLate({ late }: VolumeView): string | null {
  if (late == null) return null
  return `${late.host} cannot bring one to other hosts, since ${late.since} (${late.code}): ${late.text}`
}

/** What a loss of the holder's host would cost now; null: not in use, or without checkpoints elsewhere. */
function describeElsewhere({ holder, options, elsewhere, copies }: VolumeView): string | null {
  if (holder === null || options.copies === 1) return null
  if (elsewhere !== null) return `${formatAge(elsewhere.ageSeconds)} old on another host (${place(elsewhere)})`
  const others = copies.filter(({ host, seq, state }) => host !== holder.host && seq > 0 && state !== 'diverged')
  const away = others.flatMap(({ host, awaySince }) => (awaySince === null ? [] : [`${host} since ${awaySince}`]))
  const named = away.length === 0 ? '' : ` (away: ${away.join(', ')})`
  const host = away.length === 0 ? 'no other host' : 'no other host that is alive'
  return away.length === others.length
    ? `${host} has a checkpoint${named}: the data is on ${holder.host} alone`
    : `${host} has the newest checkpoint${named}: what was written since theirs is on ${holder.host} alone`
}

/** Interval, pause and errors of a volume's checkpoints, or the host to ask; null: none are taken. */
function describeCheckpointing({ checkpointing, options, holder, mountpoint }: VolumeView): string | null {
  if (checkpointing === null) {
    const areTaken = options.copies > 1 && checkpointTargetMs(options, true) !== null
    return holder !== null && mountpoint === '' && areTaken
      ? `only ${holder.host}, which holds the volume, reports them: inspect the volume there`
      : null
  }
  const { ageSeconds, intervalMs, pauseMs, error, failures, scanned } = checkpointing
  const wantedMs = checkpointTargetMs(options, scanned === null)
  if (wantedMs === null) return null
  // Before the first checkpoint of this hold the interval is only a guess.
  const isDelayed = ageSeconds !== null && intervalMs > wantedMs
  const rarer = isDelayed ? ` instead of ${formatAge(wantedMs / 1000)} (WHERRY_CHECKPOINT_SHARE)` : ''
  const attempts = failures === 1 ? 'the last attempt' : `the last ${failures} attempts`
  return [
    `every ${formatAge(intervalMs / 1000)}${rarer}`,
    ...(pauseMs === null ? [] : [`containers frozen for ${Math.round(pauseMs)} ms by the last one`]),
    ...(scanned === null ? [] : [`changed files are read whole (${scanned})`]),
    ...(failures === 0 || error === null ? [] : [`${attempts} failed: ${error}`]),
  ].join(', ')
}

/** What is special about a volume's checkpoints; null: nothing is. */
function describeConsistency({ options }: VolumeView): string | null {
  return options.consistency === 'live'
    ? 'live: in a checkpoint of a volume in use, files may be from different instants'
    : null
}

/** Containers of this host that are paused by a fence, and when they resume; null: none. */
function describeFenced({ fenced, unwritable }: VolumeView): string | null {
  if (fenced.length === 0) return null
  const [cause, end] =
    unwritable === null
      ? ['has lost its lease', 'the registry replies']
      : ['cannot write its state directory', 'it can be written again']
  return [
    `${fenced.join(', ')}: paused, because this host ${cause}`,
    `resumed when ${end}, unless another host has taken the volume over`,
  ].join('; ')
}

/** The last failover, and what it may have cost; null: there was none. */
function describeSeizure({ seizure }: VolumeView): string | null {
  if (seizure === null) return null
  const { from, by, at, ageSeconds } = seizure
  const hosts = from === '' ? by : `${by} from ${from}`
  const checkpoint = `checkpoint ${place(seizure)}, which was ${formatAge(ageSeconds)} old`
  return `by ${hosts} at ${at}, at ${checkpoint}: what was written later is missing`
}

/** A removed volume of the same name, so that nobody takes the new one for lost data; null: none is known. */
function describePredecessor({ predecessor }: VolumeView): string | null {
  if (predecessor == null) return null
  const { id, hosts, until } = predecessor
  const where = `on ${hosts.join(', ')}, in trash/ or set-aside/ of the state directory`
  const end = until === null ? '' : ` at least until ${until}`
  return `a volume of this name (${id}) was removed before; its data is still ${where}${end}`
}

/** Trees with writes that the cluster never got, a line each: where they are and what to do. */
function describeDiverged({ id, diverged, divergedElsewhere }: VolumeView): string[] {
  const here = diverged.map(({ name, epoch, at, bytes }) => {
    const size = bytes === null ? '' : `${formatSize(bytes)} with `
    return [
      `volumes/${id}/diverged/${name} in this host's state directory`,
      `: ${size}writes of epoch ${epoch} that the cluster never got, set aside at ${at}`,
      '; copy out what you need, then remove that directory',
    ].join('')
  })
  const there = divergedElsewhere.map(({ host, trees }) => `${trees} on ${host}: inspect the volume there`)
  return [...here, ...there]
}

/** Volumes of Docker's own driver with this name; null: there are none. */
function describeNamesakes({ name, namesakes }: VolumeView): string | null {
  if (namesakes.length === 0) return null
  return [
    `${namesakes.join(', ')}: Docker has a volume "${name}" of its own driver "local" there, without this data`,
    'containers that name no driver get that one',
    `look into it, remove it there (docker volume rm ${name}) and start containers with volume-driver=wherry`,
  ].join('; ')
}

function place({ epoch, seq }: { readonly epoch: number; readonly seq: number }): string {
  return `${epoch}.${seq}`
}
