/** The field that a version after this one puts into everything it writes. */
const FIELD = 'fromNewer'
/** Their keys are names or ids, not fields. */
const MAPS = new Set(['copies', 'mounts', 'ends', 'referrers', 'covered', 'stuck', 'late'])
/** Maps in a heartbeat, and lists or objects elsewhere. */
const HOST_MAPS = new Set(['uses', 'diverged', 'damaged'])
/** What tells one object from another at the same place: with another value the object was replaced. */
const IDENTITIES = ['id', 'incarnation', 'hash'] as const
/** The same in a list. */
const LIST_IDENTITIES = ['name', 'epoch'] as const

type Fields = Readonly<Record<string, unknown>>

/**
 * Returns a value as a newer version writes it: every object in it has one more field, which says `mark`.
 * Objects that have one already keep it.
 */
export function asNewer<T>(value: T, mark: number): T {
  return grown(value, mark, false, false) as T
}

/** Returns a value without those fields, as a version that drops what it does not know would write it. */
export function withoutNewer<T>(value: T): T {
  if (Array.isArray(value)) return value.map(withoutNewer) as T
  if (!isObject(value)) return value
  const kept = Object.entries(value).filter(([key]) => key !== FIELD)
  return Object.fromEntries(kept.map(([key, inner]) => [key, withoutNewer(inner)])) as T
}

/** Whether a newer version has written something of the value. */
export function isFromNewer(value: unknown): boolean {
  if (Array.isArray(value)) return value.some(isFromNewer)
  return isObject(value) && (FIELD in value || Object.values(value).some(isFromNewer))
}

/**
 * Returns the paths at which a newer version's fields of `before` are not in `after` any more.
 * An object that was replaced by another one, for example one holder by the next, takes its fields with it.
 */
export function lostFields(before: unknown, after: unknown, path = ''): string[] {
  if (Array.isArray(before)) {
    if (!Array.isArray(after)) return []
    return before.flatMap((one, at) => lostFields(one, counterpart(one, after), `${path}[${at}]`))
  }
  if (!isObject(before) || !isObject(after) || isReplaced(before, after)) return []
  const own = FIELD in before && before[FIELD] !== after[FIELD] ? [path === '' ? '(top)' : path] : []
  return [...own, ...Object.entries(before).flatMap(([key, inner]) => lostFields(inner, after[key], `${path}.${key}`))]
}

function grown(value: unknown, mark: number, isMap: boolean, inHost: boolean): unknown {
  if (Array.isArray(value)) return value.map((inner) => grown(inner, mark, false, inHost))
  if (!isObject(value)) return value
  const isHost = inHost || 'renewal' in value
  const isNamed = (key: string) => MAPS.has(key) || (isHost && HOST_MAPS.has(key))
  const entries = Object.entries(value).map(([key, inner]) => [key, grown(inner, mark, isNamed(key), isHost)])
  return { ...(isMap ? {} : { [FIELD]: mark }), ...Object.fromEntries(entries) }
}

function isReplaced(before: Fields, after: Fields): boolean {
  return IDENTITIES.some((key) => key in before && before[key] !== after[key]) || isOtherCheckpoint(before, after)
}

/** A tree that did not change may be a checkpoint of its own later. */
function isOtherCheckpoint(before: Fields, after: Fields): boolean {
  return 'hash' in before && (before.epoch !== after.epoch || before.seq !== after.seq)
}

function counterpart(one: unknown, list: readonly unknown[]): unknown {
  if (!isObject(one)) return undefined
  const key = LIST_IDENTITIES.find((name) => name in one)
  return key === undefined ? undefined : list.find((other) => isObject(other) && other[key] === one[key])
}

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
