import type { Checkpoint, HostRecord, VolumeRecord } from '../../agent/model/model.ts'
import type { Totals } from './checker.ts'
import { canWrite } from './containers.ts'
import { coverageFault } from './coverage.ts'
import { HISTORY } from './history.ts'
import type { Vigil } from './liveness-checker.ts'
import { entriesOf, lineOf } from './names.ts'
import type { Truths, VolumeTruth } from './oracle.ts'
import type { Commit } from './raft-group.ts'
import { EMPTY, type Tree } from './tree.ts'
import type { World } from './world.ts'

/** What a holder may write after it was last heard of: its lease, the heartbeat before, and drift. */
const FENCE_SLACK_S = 10
/** Whoever carried on while the registry had no leader was not heard of and wrote all the same: for so long after it is not known how long that was. */
const OUTAGE_MS = 90_000

/** The questions and the write that lead to a new volume may take so long. */
const ASKED_MS = 20_000

/** A removal asks and marks within so long; a write whose answer was lost may come later. */
const ASKED_LONG_AGO_MS = 45_000
/** A host that is well for so long has told what containers it has. */
const KNOWS_MS = 5_000

interface Watch {
  readonly truths: Truths
  readonly totals: Totals
  readonly vigil: Vigil
  /** Only planned moves and restarts: nothing may be lost. */
  planned: boolean
  failed(rule: string, text: string): void
  named(id: string, checkpoint: Pick<Checkpoint, 'epoch' | 'seq' | 'hash'>, isLine: boolean, where: string): void
  renewed(host: string): void
}

/** What the registry commits must be right, whoever wrote it. */
export class Commits {
  readonly #world: World
  readonly #watch: Watch

  constructor(world: World, watch: Watch) {
    this.#world = world
    this.#watch = watch
  }

  look({ group, before, value, writer }: Commit): void {
    if (group === 'hosts') this.#heartbeat(value as HostRecord | null, writer)
    if (group !== 'volumes') return
    const now = value as VolumeRecord | null
    this.#world.trace(writer, `commits ${now === null ? 'a removal' : inShort(now)}`)
    const old = before as VolumeRecord | null
    if (now === null) {
      if (old !== null) this.#deleted(old)
      return
    }
    const { truths } = this.#watch
    const truth = truths.of(now.id)
    if (old === null) truths.madeMs.set(now.name, this.#world.timeline.nowMs)
    if (truth === undefined) {
      for (const other of truths.standing(now.name)) this.#madeOver(other, now, writer)
      truths.add(now)
      return
    }
    if (truth.removed) this.#failed('promise 7', `${now.name} (${now.id}) was removed and is back`)
    const known = truth.record
    truth.record = now
    if (writer === HISTORY) return
    if (old === null) this.#rebuilt(truth, known, now, writer)
    else this.#changed(truth, old, now, writer)
  }

  #heartbeat(now: HostRecord | null, writer: string): void {
    if (now === null) return
    if (now.id === writer && now.expiredBy === null) this.#watch.renewed(writer)
    const fault = coverageFault(this.#world, this.#watch.truths, now)
    if (fault !== null) this.#failed('promise 5', fault)
  }

  #changed(truth: VolumeTruth, old: VolumeRecord, now: VolumeRecord, writer: string): void {
    for (const checkpoint of lineOf(now)) this.#watch.named(now.id, checkpoint, true, `the record by ${writer}`)
    for (const checkpoint of entriesOf(now)) this.#watch.named(now.id, checkpoint, false, `a copy by ${writer}`)
    if (now.epoch < old.epoch)
      this.#failed('promise 8', `the epoch of ${now.name} went from ${old.epoch} to ${now.epoch}`)
    const newHold = now.holder !== null && now.holder.incarnation !== old.holder?.incarnation
    if (newHold && now.epoch <= old.epoch) this.#failed('promise 8', `${now.name} was held anew without a new epoch`)
    if (now.holder !== null && now.removedAt !== null)
      this.#failed('promise 7', `${now.name} is held by ${now.holder.host} although it is removed`)
    if (now.removedAt !== null && old.removedAt === null && !this.#world.people.removing.has(now.name))
      this.#failed('promise 7', `${writer} removes ${now.name}, which nobody asked for`)
    const isRemoval = now.removedAt !== null && old.removedAt === null
    if (isRemoval) this.#unreferred(now, writer)
    // A person may also promote on the holder's own host.
    const isSeizure = now.seizures.at(-1)?.epoch === now.epoch && now.epoch > old.epoch
    const hasLeft = old.holder !== null && old.holder.incarnation !== now.holder?.incarnation
    const taken = hasLeft && (isSeizure || writer !== old.holder?.host)
    const givenUp = old.holder === null && isSeizure
    if (isRemoval && hasLeft) this.#removedFromHolder(truth, old, now, writer)
    else if (taken || givenUp) this.#seized(truth, old, now, writer)
    if (newHold && now.holder !== null) {
      truth.endFork(now.holder.host)
      truth.incarnation = now.holder.incarnation
    }
    if (now.last !== null && now.last.hash !== old.last?.hash) this.#newLast(truth, old, now, now.last)
    if (old.holder !== null && now.holder === null && !taken && !isRemoval) this.#released(truth, now, writer)
    for (const [host, copy] of Object.entries(old.copies)) {
      if (now.copies[host] === undefined && copy.seq > 0) this.#dropped(truth, now, host)
    }
  }

  /** Whoever removes a volume must know that nothing refers to it, also not something that does not run. */
  #unreferred({ name }: VolumeRecord, writer: string): void {
    const { swarm, timeline, machines } = this.#world
    if (swarm.isNamed(name)) this.#failed('promise 7', `${writer} removes ${name}, which a service names`)
    for (const { host, containers } of machines()) {
      // What came since it was asked is too late; what is known of a host that is in trouble may be old.
      const known = containers.all.find(
        (one) => one.volume === name && timeline.nowMs - one.createdMs > ASKED_LONG_AGO_MS,
      )
      if (known !== undefined && this.#watch.vigil.wellForMs(host) > KNOWS_MS)
        this.#failed('promise 7', `${writer} removes ${name}, and ${known.id} (${known.state}) on ${host} has it`)
    }
  }

  /** The holder has given it up for the removal, or was given up itself: then its epoch is over. */
  #removedFromHolder(truth: VolumeTruth, old: VolumeRecord, now: VolumeRecord, by: string): void {
    const writer = old.holder === null ? null : this.#writerOn(old.holder.host, now.id)
    if (now.epoch > old.epoch) this.#lostForGood(truth, old, now, by)
    else if (writer !== null) this.#failed('promise 7', `${now.name} was removed while ${writer} could write it`)
  }

  /** A removal that does without the holder: what that one has must be set aside when it returns. */
  #lostForGood(truth: VolumeTruth, old: VolumeRecord, now: VolumeRecord, by: string): void {
    const { machine, people, options } = this.#world
    const from = old.holder?.host ?? ''
    this.#world.trace(by, `CHECKER: ${now.name} was given up with ${from}`)
    if (!people.givenUp.has(now.name))
      this.#failed('promise 7', `${by} removed ${now.name} without its holder, and nobody accepted that`)
    this.#watch.totals.givenUp++
    const writer = machine(from).on ? this.#writerOn(from, now.id) : null
    // What no other host can use is never fenced: it is written to until its host hears of the removal, and set aside then.
    if (!isGuarded(old, from)) truth.unguarded.add(from)
    if (options.onIsolation === 'continue' || !isGuarded(old, from)) truth.forks.set(from, truth.head)
    else if (writer !== null)
      this.#failed('promise 6', `${now.name} was given up by ${by} while ${writer} on ${from} could write it`)
    truth.givenUp = { host: from, tree: truth.head }
  }

  #deleted(old: VolumeRecord): void {
    const truth = this.#watch.truths.of(old.id)
    if (old.removedAt === null) this.#failed('promise 7', `the record of ${old.name} was deleted`)
    if (truth !== undefined) truth.removed = true
  }

  /** Whoever held it last holds it again. */
  #goesOn(truth: VolumeTruth, host: string): void {
    const tree = this.#world.machine(host).disk.shelf(truth.record.id)?.tree
    if (tree !== undefined && truth.head.isPrefixOf(tree)) truth.head = tree
    truth.forks.delete(host)
  }

  /** A volume is made while another one of its name was not removed: nobody may do so who can see the data. */
  #madeOver(other: VolumeTruth, now: VolumeRecord, writer: string): void {
    const { network, machines, serving, timeline, trace } = this.#world
    trace(writer, `CHECKER: ${now.name} is made anew over ${other.record.id}`)
    const { id } = other.record
    const seen = machines().find(({ host, disk, agent }) => {
      const record = disk.shelf(id)?.record
      // Of a hold that was intended and never came about nothing was ever mounted, whatever an older release left of it.
      const epochs = [record?.held?.epoch, record?.checkpoint?.epoch]
      const hasData = epochs.some((epoch) => epoch !== undefined && epoch <= (record?.epochSeen ?? 0))
      // The question was asked some time before its answer made the volume.
      const answers =
        agent !== null && timeline.nowMs - Math.max(agent.servesSinceMs, agent.life.stuckUntilMs) > ASKED_MS
      return hasData && answers && serving(host) !== null && disk.slowness === 1 && network.linked(writer, host)
    })
    if (seen !== undefined && network.trouble === 0 && timeline.nowMs - network.healedMs > ASKED_MS)
      this.#failed('promise 2', `${writer} made ${now.name} anew, and ${seen.host} has its data`)
  }

  /** The registry had nothing of it any more, and the disks of the hosts had. */
  #rebuilt(truth: VolumeTruth, known: VolumeRecord, now: VolumeRecord, writer: string): void {
    const { machine, machines } = this.#world
    const { holder } = known
    this.#watch.truths.rename(truth)
    if (now.holder !== null) this.#goesOn(truth, now.holder.host)
    // A promotion alone is on no disk: it may be undone as long as nobody has held the volume since.
    const seen = machines().map(({ disk }) => disk.shelf(now.id)?.record.epochSeen ?? 0)
    if (now.epoch < Math.max(...seen))
      this.#failed('promise 8', `${now.name} was rebuilt at epoch ${now.epoch}, a disk has seen ${Math.max(...seen)}`)
    if (now.holder !== null && now.holder.incarnation !== truth.incarnation)
      this.#failed('promise 1', `${now.name} was rebuilt as held by ${now.holder.host}, which is not its holder`)
    const base = now.last === null ? EMPTY : truth.trees.get(now.last.hash)
    if (base === undefined || !base.isPrefixOf(truth.head)) {
      this.#failed('promise 2', `${now.name} was rebuilt at ${base}, which is not of the line of ${truth.head}`)
      return
    }
    if (now.last !== null) truth.committed.unshift(base)
    if (now.holder !== null || (holder === null && base === truth.head)) return
    const writes = holder !== null && machine(holder.host).on && this.#writerOn(holder.host, now.id)
    // A machine that stood still does not know yet that its lease is over.
    const isUnaware = holder !== null && machine(holder.host).unaware && Boolean(writes)
    if (holder !== null && (isUnaware || this.#world.options.onIsolation === 'continue'))
      truth.forks.set(holder.host, truth.head)
    else if (writes) this.#failed('promise 1', `${writer} rebuilt ${now.name} as idle while ${writes} could write it`)
    if (truth.head.ackedPart().length > base.length)
      truth.abandoned.push({ host: holder?.host ?? null, tree: truth.head })
    truth.head = base
  }

  #seized(truth: VolumeTruth, old: VolumeRecord, now: VolumeRecord, by: string): void {
    const { machine, people } = this.#world
    const from = old.holder?.host ?? null
    const { failover, onIsolation } = this.#world.options
    this.#watch.totals.seizures++
    this.#world.trace(by, `CHECKER: ${now.name} was taken from ${from ?? 'nobody'} at epoch ${now.epoch}`)
    const asked = people.hasPromoted(now.name, by, false)
    if (!asked && (failover === 'manual' || onIsolation === 'continue' || from === null))
      this.#failed('promise 5', `${by} took ${now.name} over without a person's word`)
    const writer = from !== null && machine(from).on ? this.#writerOn(from, now.id) : null
    if (from !== null && !isGuarded(old, from) && people.hasPromoted(now.name, by, true)) truth.unguarded.add(from)
    if (from !== null && onIsolation === 'continue') truth.forks.set(from, truth.head)
    else if (from !== null && machine(from).unaware) {
      if (writer !== null) truth.forks.set(from, truth.head)
    } else if (writer !== null)
      this.#failed('promise 6', `${now.name} was seized by ${by} while ${writer} on ${from} could write it`)
    const base = now.last === null ? EMPTY : truth.trees.get(now.last.hash)
    if (base === undefined || !base.isPrefixOf(truth.head)) {
      this.#failed(
        'promise 5',
        `${now.name} goes on from ${base ?? 'an unknown checkpoint'}, which is not of the line of ${truth.head}`,
      )
      return
    }
    if (now.last !== null && !this.#isKept(old, now.last))
      this.#failed('promise 2', `${now.name} goes on from ${now.last.epoch}.${now.last.seq}, which no disk has for it`)
    const isBelow = old.last !== null && (now.last === null || below(now.last, old.last))
    if (isBelow && !people.hasPromoted(now.name, by, true))
      this.#failed(
        'promise 5',
        `${now.name} was seized below its newest checkpoint ${old.last?.epoch}.${old.last?.seq}`,
      )
    this.#lost(truth, now, base, from)
  }

  /** Whether a disk has a checkpoint, and keeps it when the volume goes on from it: a tree that is held is put aside. */
  #isKept({ id, epoch, holder }: VolumeRecord, { hash }: Checkpoint): boolean {
    return this.#world.machines().some(({ disk }) => {
      const record = disk.shelf(id)?.record
      if (record?.checkpoint?.hash !== hash || record.applying) return false
      const { held, epochSeen } = record
      // Not when the hold was only intended, or is over by the record.
      return held === null || epochSeen < held.epoch || (holder === null && held.epoch === epoch)
    })
  }

  #lost(truth: VolumeTruth, now: VolumeRecord, base: Tree, from: string | null): void {
    const { timeline } = this.#world
    const { totals, vigil } = this.#watch
    const lost = truth.head.ackedPart().length - base.length
    if (lost <= 0) {
      truth.head = base
      return
    }
    totals.lost += lost
    if (this.#watch.planned)
      this.#failed(
        'promise 3',
        `${lost} acknowledged records of ${now.name} were lost without a fault that could cost them`,
      )
    const seizure = now.seizures.at(-1)
    const first = at(truth.head, base.length + 1)
    const last = truth.head.entry
    if (seizure === undefined || seizure.epoch !== now.epoch)
      this.#failed('promise 5', `the seizure of ${now.name} is not recorded`)
    else if (seizure.base.hash !== now.last?.hash)
      this.#failed('promise 5', `the seizure of ${now.name} says that it goes on from another checkpoint than it does`)
    else if (first?.entry != null && last !== null && timeline.nowMs - vigil.leaderlessMs > OUTAGE_MS) {
      const spanS = (last.atMs - first.entry.atMs) / 1_000
      if (spanS > seizure.ageSeconds + FENCE_SLACK_S)
        this.#failed('promise 5', `${now.name} lost ${spanS.toFixed(1)} s of writes, said were ${seizure.ageSeconds} s`)
    }
    truth.abandoned.push({ host: from, tree: truth.head })
    truth.head = base
  }

  #newLast(truth: VolumeTruth, old: VolumeRecord, now: VolumeRecord, last: Checkpoint): void {
    this.#watch.totals.checkpoints++
    truth.lastChangedMs = this.#world.timeline.nowMs
    const tree = truth.trees.get(last.hash)
    if (tree === undefined) {
      this.#failed('promise 4', `checkpoint ${last.epoch}.${last.seq} of ${now.name} is no tree that ever was`)
      return
    }
    truth.committed.unshift(tree)
    const givenUp = now.seizures.at(-1)?.epoch === now.epoch && now.epoch > old.epoch
    if (old.last !== null && below(last, old.last) && !givenUp) {
      this.#failed(
        'promise 5',
        `the newest checkpoint of ${now.name} went from ${old.last.epoch}.${old.last.seq} to ${last.epoch}.${last.seq}`,
      )
    }
    if (!tree.isPrefixOf(truth.head)) {
      this.#failed(
        'promise 3',
        `checkpoint ${last.epoch}.${last.seq} of ${now.name} (${tree}) is not of the line of ${truth.head}`,
      )
    }
  }

  #released(truth: VolumeTruth, now: VolumeRecord, by: string): void {
    const writer = this.#writerOn(by, now.id)
    if (writer !== null) this.#failed('promise 3', `${now.name} was released by ${by} while ${writer} could write it`)
    const tree = this.#world.machine(by).disk.shelf(now.id)?.tree
    if (now.last === null || tree === undefined || tree.hash !== now.last.hash) {
      this.#failed('promise 3', `${now.name} was released by ${by} at ${now.last?.hash}, but its tree is ${tree}`)
    }
    if (tree !== undefined) truth.head = tree
  }

  /** A host's copy is not counted on any more: the newest checkpoint must be on a disk all the same. */
  #dropped({ name }: VolumeTruth, now: VolumeRecord, host: string): void {
    this.#watch.totals.dropped++
    const { last } = now
    if (last === null || now.removedAt !== null) return
    const others = this.#world.machines().filter(({ disk, host: other }) => {
      const checkpoint = other === host ? null : (disk.shelf(now.id)?.record.checkpoint ?? null)
      return checkpoint !== null && !below(checkpoint, last)
    })
    if (others.length === 0)
      this.#failed('promise 7', `${host} gives its copy of ${name} up, and no other disk has ${last.epoch}.${last.seq}`)
  }

  #writerOn(host: string, id: string): string | null {
    const { containers } = this.#world.machine(host)
    return containers.all.find((one) => one.mountedId === id && canWrite(one))?.id ?? null
  }

  #failed(rule: string, text: string): void {
    this.#watch.failed(rule, text)
  }
}

/** The part of a tree with so many records. */
function at(tree: Tree, length: number): Tree | null {
  let found: Tree | null = tree
  while (found !== null && found.length > length) found = found.before
  return found
}

function below(one: Checkpoint, other: Checkpoint): boolean {
  return one.epoch < other.epoch || (one.epoch === other.epoch && one.seq < other.seq)
}

/** A record in a line, for traces. */
function inShort({ name, epoch, holder, last, copies, removedAt }: VolumeRecord): string {
  const which = last === null ? 'nothing' : `${last.epoch}.${last.seq} (${last.hash})`
  const states = Object.entries(copies).map(([host, copy]) => `${host} ${copy.state} ${copy.epoch}.${copy.seq}`)
  const over = removedAt === null ? '' : ', removed'
  return `${name}: epoch ${epoch}, held by ${holder?.host ?? 'nobody'}, last ${which}; ${states.join(', ')}${over}`
}

/** Whether the record names a copy elsewhere: a holder without one is never fenced. */
function isGuarded({ copies }: VolumeRecord, holder: string): boolean {
  return Object.entries(copies).some(([host, copy]) => host !== holder && copy.seq > 0)
}
