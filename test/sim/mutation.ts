import type { Dependencies } from '../../agent/mobility/dependencies.ts'
import { copyFields } from '../../agent/mobility/record/checkpoint-order.ts'
import type { VolumeOptions, VolumeRecord } from '../../agent/model/model.ts'
import type { LocalCopy, Store } from '../../agent/store/contract.ts'
import type { Machine } from './machine.ts'
import type { Kind } from './scenarios.ts'
import { type Settings, SHIPPED } from './settings.ts'

/** A rule that is broken on purpose, and by which promises that must be noticed. */
export interface Mutation {
  readonly name: string
  readonly settings: Partial<Settings>
  readonly rules: readonly string[]
}

/** Longer than a heartbeat. */
const WORD_LATE_MS = 1_500

export const MUTATIONS: readonly Mutation[] = [
  {
    name: 'no margin',
    settings: { seizeAfterMs: 3_000, rivals: 1, unplanned: ['isolation', 'partition'] },
    rules: ['promise 6', 'promise 1'],
  },
  { name: 'fence too late', settings: { watchdogSleepsMs: 8_000, rivals: 1 }, rules: ['promise 6', 'promise 1'] },
  { name: 'no epoch check', settings: { setBack: 0.5, bend: forgetEpochs }, rules: ['promise 8'] },
  {
    name: 'claim before verify',
    settings: { tampering: true, bend: believeHashes },
    rules: ['promise 2', 'promise 3'],
  },
  {
    name: 'surplus is not counted',
    settings: { always: ['drains', 'trims'], bend: believeCopies },
    rules: ['promise 7'],
  },
  { name: 'removed ids are used again', settings: { always: ['removals'], bend: reuseIds }, rules: ['promise 7'] },
  { name: 'no tombstones', settings: { always: ['removals'], bend: forgetTombstones }, rules: ['liveness'] },
  {
    name: 'removal that asks only the holder',
    settings: { always: ['cleanups'], bend: askNoOther },
    rules: ['promise 7'],
  },
  {
    name: 'what was given up is trashed',
    settings: { always: ['removals'], bend: forgetLost },
    rules: ['promise 7'],
  },
  { name: 'nobody is asked', settings: { always: ['manual'], bend: overlookPolicy }, rules: ['promise 5'] },
  {
    name: 'loss is accepted unasked',
    settings: { always: ['manual'], acceptsUnasked: true },
    rules: ['promise 3', 'promise 5'],
  },
  {
    name: 'what a holder has is taken for a copy',
    settings: { unplanned: ['odd tree'], bend: countHeld },
    rules: ['promise 2'],
  },
  { name: 'isolation fences all', settings: { always: ['continue'], bend: guardAll }, rules: ['promise 6'] },
  { name: 'live is paused', settings: { always: ['live'], bend: pauseLive }, rules: ['promise 13'] },
  { name: 'anybody is resumed', settings: { always: ['pauses'], bend: resumeAll }, rules: ['promise 11'] },
  {
    name: 'nobody is held who looks at what is frozen',
    settings: { always: ['execs', 'pauses'], unguarded: true },
    rules: ['promise 13'],
  },
  { name: 'freeze not ended', settings: { freezesStay: true }, rules: ['promise 13'] },
  {
    name: 'disks without epochs are recovered',
    settings: { always: ['wipe'], bend: forgetEpochs },
    rules: ['promise 8', 'promise 1'],
  },
  { name: 'mount before the watchdog', settings: { bend: tellLate }, rules: ['promise 1'] },
  {
    name: 'what a record cannot say is not guarded',
    settings: { unplanned: ['unreadable records', 'isolation'], rivals: 1, bend: inheritNothing },
    rules: ['promise 1', 'promise 6'],
  },
  {
    name: 'base taken from the last scan',
    settings: { unplanned: ['restart in an outage'], bend: compareWithLastLook },
    rules: ['promise 5'],
  },
  {
    name: 'forged checkpoint on unborn',
    settings: { always: ['unborn'], bend: forgeUnborn },
    rules: ['promise 14'],
  },
  {
    name: 'order compared without hash',
    settings: { always: ['forged'], bend: overlookHashes },
    rules: ['promise 14', 'promise 2', 'promise 3', 'promise 5'],
  },
  {
    name: 'expired heartbeat ignored',
    settings: { always: ['stops'], rivals: 1, bend: overlookExpiry },
    rules: ['promise 6'],
  },
  {
    name: 'truncated lineage taken as safe',
    settings: { always: ['ages'], bend: forgetCutSeizures },
    rules: ['promise 7'],
  },
  { name: 'stuck holders say nothing', settings: { bend: sayNothing }, rules: ['liveness'] },
  { name: 'empty mount allowed', settings: { bend: overlookLast }, rules: ['promise 2', 'promise 3'] },
]

/** As shipped, or with one rule broken; every run has the `always` ones. Throws for a name that is not in the list. */
export function settingsFor(name: string | null, always: readonly Kind[] = []): Settings {
  if (name === null) return { ...SHIPPED, always }
  const mutation = MUTATIONS.find((one) => one.name === name)
  if (mutation === undefined) throw new Error(`no mutation ${name}`)
  return { ...SHIPPED, ...mutation.settings, always: [...(mutation.settings.always ?? []), ...always] }
}

/** The store does not say which epochs the disk has seen. */
function forgetEpochs(parts: Dependencies): Dependencies {
  const { store } = parts
  return withStore(parts, {
    copy: async (id) => {
      const copy = await store.copy(id)
      return copy === null ? null : { ...copy, epochSeen: 0 }
    },
    copies: async () => {
      const { copies, damaged } = await store.copies()
      return { copies: copies.map((copy) => ({ ...copy, epochSeen: 0 })), damaged }
    },
  })
}

/** The watchdog hears of a volume some time after it is held. */
function tellLate(parts: Dependencies): Dependencies {
  const { watchdog, clock, signal } = parts
  const known = new Set<string>()
  const guard: typeof watchdog.guard = (word) => {
    for (const { id } of word.volumes) void clock.sleep(WORD_LATE_MS, signal).then(() => known.add(id))
    watchdog.guard({ ...word, volumes: word.volumes.filter(({ id }) => known.has(id)) })
  }
  return { ...parts, watchdog: { ...watchdog, guard } }
}

/** An agent does not hear what the watchdog guarded before it. */
function inheritNothing(parts: Dependencies): Dependencies {
  return { ...parts, watchdog: { ...parts.watchdog, inherited: async () => [] } }
}

/** A round compares with the tree that was looked at last, checkpoint or not. */
function compareWithLastLook(parts: Dependencies, machine: Machine): Dependencies {
  const { store } = parts
  return withStore(parts, {
    spoolRound: async (id, signal) => {
      const round = await store.spoolRound(id, signal)
      const shelf = machine.disk.shelf(id)
      return { ...round, changed: shelf?.tree.hash !== shelf?.kept?.hash }
    },
  })
}

/** A quiet tree is said to be what its checkpoint says, whatever a look shows. */
function believeHashes(parts: Dependencies, machine: Machine): Dependencies {
  const { store } = parts
  return withStore(parts, {
    capture: async (id, kind, signal) => {
      const capture = await store.capture(id, kind, signal)
      const copy = await store.copy(id)
      if (kind === 'live' || copy === null || copy.held !== null || copy.checkpoint === null) return capture
      const shelf = machine.disk.shelf(id)
      if (shelf !== undefined) shelf.record = { ...shelf.record, damaged: null }
      return { ...capture, hash: copy.checkpoint.hash }
    },
  })
}

/** A hold that is taken back before it came about leaves a checkpoint of its epoch. */
function forgeUnborn(parts: Dependencies, machine: Machine): Dependencies {
  const { store } = parts
  return withStore(parts, {
    update: async (id, change) => {
      const copy = await store.copy(id)
      const tree = machine.disk.shelf(id)?.tree
      const isUnborn = change.held === null && copy !== null && copy.held !== null && copy.epochSeen < copy.held.epoch
      if (!isUnborn || copy.held === null || tree === undefined) return await store.update(id, change)
      const name = { epoch: copy.held.epoch, seq: (copy.checkpoint?.seq ?? 0) + 1 }
      const checkpoint = { ...name, hash: tree.hash, at: parts.clock.now().toISOString(), bytes: 0, files: 0 }
      return await store.update(id, { ...change, checkpoint })
    },
  })
}

/** What is called as the newest checkpoint on this disk is taken for it. */
function overlookHashes(parts: Dependencies, machine: Machine): Dependencies {
  const { registry } = parts
  return withReading(parts, async (name) => {
    const entry = await registry.volume(name)
    const last = entry?.value.last ?? null
    const mine = entry === null ? null : (machine.disk.shelf(entry.value.id)?.record.checkpoint ?? null)
    if (entry === null || last === null || mine?.epoch !== last.epoch || mine.seq !== last.seq) return entry
    return { ...entry, value: { ...entry.value, last: { ...last, hash: mine.hash } } }
  })
}

/** A host that finds its heartbeat replaced writes a new one, as if nothing had happened. */
function overlookExpiry(parts: Dependencies): Dependencies {
  const { registry, self } = parts
  const updateHost: typeof registry.updateHost = async (record, revision) => {
    const write = await registry.updateHost(record, revision)
    if (write.outcome !== 'refused' || record.id !== self.id) return write
    const found = (await registry.hosts()).find(({ value }) => value.id === self.id)
    return found === undefined ? write : await registry.updateHost(record, found.revision)
  }
  return { ...parts, registry: over(registry, { updateHost }) }
}

/** Nobody knows that the list of take-overs was ever longer. */
function forgetCutSeizures(parts: Dependencies): Dependencies {
  const { registry } = parts
  return withReading(parts, async (name) => {
    const entry = await registry.volume(name)
    if (entry === null) return null
    const { seizuresCut, ...record } = entry.value
    return seizuresCut === undefined ? entry : { ...entry, value: { ...record, seizures: record.seizures.slice(1) } }
  })
}

/** A host without a copy takes an idle volume for one that was never written. */
function overlookLast(parts: Dependencies, machine: Machine): Dependencies {
  const { registry } = parts
  const read: typeof registry.volume = async (name) => {
    const entry = await registry.volume(name)
    if (entry === null || entry.value.holder !== null) return entry
    if (machine.disk.shelf(entry.value.id) !== undefined) return entry
    return { ...entry, value: { ...entry.value, last: null } }
  }
  return { ...parts, registry: over(registry, { volume: read }) }
}

/** Every copy is taken for one at the newest checkpoint, and every comparison for one that shows no difference. */
function believeCopies(parts: Dependencies, { world }: Machine): Dependencies {
  const { registry, peers } = parts
  const ask: typeof peers.ask = async (host, question, signal) =>
    question.kind === 'compare'
      ? { hash: world.checker.truths.of(question.volume)?.record.last?.hash ?? null, why: null }
      : await peers.ask(host, question, signal)
  const asCurrent = (record: VolumeRecord): VolumeRecord => {
    const { last } = record
    if (last === null) return record
    const copies = Object.entries(record.copies).map(([host, copy]) => {
      return [host, { ...copy, ...copyFields(last), state: 'current' as const }] as const
    })
    return { ...record, copies: Object.fromEntries(copies) }
  }
  return withReading({ ...parts, peers: { ask } }, async (name) => {
    const entry = await registry.volume(name)
    return entry === null ? null : { ...entry, value: asCurrent(entry.value) }
  })
}

/** A volume that is made anew gets the id that the name had before. */
function reuseIds(parts: Dependencies): Dependencies {
  const { registry } = parts
  const addVolume: typeof registry.addVolume = (record) => registry.addVolume({ ...record, id: `id-${record.name}` })
  return { ...parts, registry: over(registry, { addVolume }) }
}

/** Hosts that are away never learn of a removal. */
function forgetTombstones(parts: Dependencies): Dependencies {
  const { registry } = parts
  const addRemoved: typeof registry.addRemoved = async (value) => ({ outcome: 'done', entry: { value, revision: 1 } })
  return { ...parts, registry: over(registry, { addRemoved }) }
}

/** Tombstones do not say which hosts were given up. */
function forgetLost(parts: Dependencies): Dependencies {
  const { registry } = parts
  const addRemoved: typeof registry.addRemoved = (value) => registry.addRemoved({ ...value, lost: undefined })
  return { ...parts, registry: over(registry, { addRemoved }) }
}

/** A removal looks who holds the volume, and not what else refers to it. */
function askNoOther(parts: Dependencies): Dependencies {
  const { peers, engine } = parts
  const ask: typeof peers.ask = async (host, question, signal) =>
    question.kind === 'references'
      ? { host: host.address, containers: [], services: 'none' }
      : await peers.ask(host, question, signal)
  return { ...parts, peers: { ask }, engine: over(engine, { services: async () => 'none' }) }
}

/** Heartbeats do not carry what their host cannot release. */
function sayNothing(parts: Dependencies): Dependencies {
  const { registry } = parts
  const updateHost: typeof registry.updateHost = (record, revision) =>
    registry.updateHost({ ...record, stuck: {}, unwritable: null }, revision)
  return { ...parts, registry: over(registry, { updateHost }) }
}

/** A host that is asked for its copy does not say that it holds the volume. */
function countHeld(parts: Dependencies): Dependencies {
  const ask: typeof parts.peers.ask = async (host, question, signal) => {
    const answer = await parts.peers.ask(host, question, signal)
    return question.kind === 'copy' && answer !== null ? { ...(answer as object), held: false } : answer
  }
  return { ...parts, peers: { ask } }
}

/** What the options say about take-overs is not read. */
function overlookPolicy(parts: Dependencies): Dependencies {
  const { registry } = parts
  return withReading(parts, async (name) => {
    const entry = await registry.volume(name)
    if (entry === null) return null
    const options = { ...entry.value.options, failover: 'auto', onIsolation: 'pause' } as const
    return { ...entry, value: { ...entry.value, options } }
  })
}

/** What the disk says of a volume's options is taken for the usual. */
function withLocalOptions(parts: Dependencies, options: Partial<VolumeOptions>): Dependencies {
  const { store } = parts
  const bent = (copy: LocalCopy): LocalCopy => ({ ...copy, options: { ...copy.options, ...options } })
  return withStore(parts, {
    copy: async (id) => {
      const copy = await store.copy(id)
      return copy === null ? null : bent(copy)
    },
    copies: async () => {
      const { copies, damaged } = await store.copies()
      return { copies: copies.map(bent), damaged }
    },
  })
}

function guardAll(parts: Dependencies): Dependencies {
  return withLocalOptions(parts, { onIsolation: 'pause' })
}

function pauseLive(parts: Dependencies): Dependencies {
  return withLocalOptions(parts, { consistency: 'pause' })
}

/** After a checkpoint everything that stands still goes on. */
function resumeAll(parts: Dependencies): Dependencies {
  const { freezes, engine } = parts
  const freeze: typeof freezes.freeze = async (...args) => {
    const { cut, end } = await freezes.freeze(...args)
    const endAll = async () => {
      const ended = await end()
      for (const { id, state } of await engine.users()) if (state === 'paused') await engine.unpause(id)
      return ended
    }
    return { cut, end: endAll }
  }
  return { ...parts, freezes: over(freezes, { freeze }) }
}

function withReading(parts: Dependencies, volume: Dependencies['registry']['volume']): Dependencies {
  return { ...parts, registry: over(parts.registry, { volume }) }
}

function withStore(parts: Dependencies, changes: Partial<Store>): Dependencies {
  return { ...parts, store: over(parts.store, changes) }
}

/** The same object with some of its methods replaced. */
function over<T extends object>(target: T, changes: Partial<T>): T {
  return new Proxy(target, {
    get(object, key) {
      const changed = changes[key as keyof T]
      if (changed !== undefined) return changed
      const value = Reflect.get(object, key) as unknown
      return typeof value === 'function' ? value.bind(object) : value
    },
  })
}
