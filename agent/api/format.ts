import { sentenceOf } from '../mobility/trouble.ts'
import { checkpointTargetMs } from '../model/volume-options.ts'
import type { VolumeView } from './contract.ts'

/** How what the agent says of a volume looks to people, in `docker volume inspect` and in the `wherry` command alike. One line each. */

const SIZE_UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'] as const

/** Bytes for people: 1.5 GB. */
export function formatSize(bytes: number): string {
  let amount = bytes
  let unit = 0
  while (amount >= 999.5 && unit < SIZE_UNITS.length - 1) {
    amount /= 1000
    unit++
  }
  return `${unit === 0 || amount >= 99.5 ? Math.round(amount) : amount.toFixed(1)} ${SIZE_UNITS[unit]}`
}

/** A span of time for people: 12 s, 5 min, 3 h, 2 d. */
export function formatAge(seconds: number): string {
  if (seconds < 120) return `${Math.max(0, Math.round(seconds))} s`
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`
  return `${Math.round(seconds / 86_400)} d`
}

/** One copy: state, checkpoint, and what is wrong with it. */
export function formatCopy({ host, state, epoch, seq, awaySince, why }: VolumeView['copies'][number]): string {
  if (awaySince !== null) return `${host}: away since ${awaySince} (was ${state}, ${place({ epoch, seq })})`
  return `${host}: ${state} (${place({ epoch, seq })}${why === null ? '' : `; ${why}`})`
}

/** What there is to say of a volume only now and then, by what it is about; a key may come more than once. */
export function describeConditions(view: VolumeView): readonly (readonly [string, string])[] {
  const lines: readonly (readonly [string, string | null])[] = [
    ['hosts', view.hostsUnknown ? 'this agent has just started: which hosts are away is not known yet' : null],
    ['holder_away', view.holder?.away ?? null],
    ['stuck', describeStuck(view)],
    ['holder_disk', describeDisk(view)],
    ['checkpoint_age', describeElsewhere(view)],
    ['checkpoints', describeCheckpointing(view)],
    ['consistency', describeConsistency(view)],
    ['fenced', describeFenced(view)],
    ['taken_over', describeSeizure(view)],
    ['earlier_volume', describePredecessor(view)],
    ...describeDiverged(view).map((line) => ['diverged', line] as const),
    ['local_namesake', describeNamesakes(view)],
    ['stale', view.stale ? 'the registry is out of reach; this is the last that was known' : null],
  ]
  return lines.filter((line): line is readonly [string, string] => line[1] !== null)
}

/** Why the holder cannot release the volume, and what a person can do; null: it can. */
function describeStuck({ stuck, name }: VolumeView): string | null {
  if (stuck === null) return null
  const { host, code, text, since } = stuck
  const what = `${host} cannot release it, since ${since} (${code}): ${sentenceOf(text)}`
  return code === 'VOLUME_BUSY' ? `${what} End it there.` : `${what} Mend that there, or run: wherry promote ${name}`
}

/** Why the holder cannot write its state directory; null: it can. */
function describeDisk({ unwritable }: VolumeView): string | null {
  if (unwritable === null) return null
  const { host, code, text, since } = unwritable
  return `${host} cannot write its state directory, since ${since} (${code}): ${text}`
}

/** What a loss of the holder's host would cost now. Null: the volume is not in use, or is to have no checkpoints elsewhere. */
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

/** How checkpoints of a volume in use go, or who knows; null: there are none. */
function describeCheckpointing({ checkpointing, options, holder, mountpoint }: VolumeView): string | null {
  if (checkpointing === null) {
    const areTaken = options.copies > 1 && checkpointTargetMs(options, true) !== null
    return holder !== null && mountpoint === '' && areTaken
      ? `only ${holder.host}, which holds the volume, knows how they go: inspect the volume there`
      : null
  }
  const { intervalMs, pauseMs, error, failures, scanned } = checkpointing
  const wantedMs = checkpointTargetMs(options, scanned === null)
  if (wantedMs === null) return null
  const rarer = intervalMs > wantedMs ? ` instead of ${formatAge(wantedMs / 1000)} (WHERRY_CHECKPOINT_SHARE)` : ''
  const tries = failures === 1 ? 'the last try' : `the last ${failures} tries`
  return [
    `every ${formatAge(intervalMs / 1000)}${rarer}`,
    ...(pauseMs === null ? [] : [`containers frozen for ${Math.round(pauseMs)} ms by the last one`]),
    ...(scanned === null ? [] : [`files that changed are read whole (${scanned})`]),
    ...(failures === 0 || error === null ? [] : [`${tries} failed: ${error}`]),
  ].join(', ')
}

/** What is special about a volume's checkpoints; null: nothing is. */
function describeConsistency({ options }: VolumeView): string | null {
  return options.consistency === 'live'
    ? 'live: in a checkpoint of a volume in use, files may be from different instants'
    : null
}

/** Containers of this host that stand still; null: none. */
function describeFenced({ fenced, unwritable }: VolumeView): string | null {
  if (fenced.length === 0) return null
  if (unwritable !== null)
    return `${fenced.join(', ')}: paused, because this host cannot write its state directory; goes on when it can, unless another host has taken the volume over`
  return `${fenced.join(', ')}: paused, because this host has lost its lease; goes on when the registry answers, unless another host has taken the volume over`
}

/** The last take-over, and what it may have cost; null: there was none. */
function describeSeizure({ seizure }: VolumeView): string | null {
  if (seizure === null) return null
  const { from, by, at, ageSeconds } = seizure
  const whom = from === '' ? '' : ` from ${from}`
  return `by ${by}${whom} at ${at}, at checkpoint ${place(seizure)}, which was ${formatAge(ageSeconds)} old: what was written later is missing`
}

/** A removed volume of the same name; null: none is known. Nobody must take the empty volume for the lost data without a word. */
function describePredecessor({ predecessor }: VolumeView): string | null {
  if (predecessor == null) return null
  const { id, hosts, until } = predecessor
  const where = `on ${hosts.join(', ')}, in trash/ or set-aside/ of the state directory`
  return `a volume of this name (${id}) was removed before; its data is still ${where}${until === null ? '' : ` at least until ${until}`}`
}

/** Trees with writes that the cluster never got, a line each: where they are and what to do. */
function describeDiverged({ id, diverged, divergedElsewhere }: VolumeView): string[] {
  const here = diverged.map(({ name, epoch, at, bytes }) => {
    const what = `${bytes === null ? '' : `${formatSize(bytes)} with `}writes of epoch ${epoch} that the cluster never got`
    return `volumes/${id}/diverged/${name} in this host's state directory: ${what}, put aside at ${at}; copy out what you need, then remove that directory`
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
