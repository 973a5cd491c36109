import type { Checkpoint, HostRecord, VolumeRecord } from '../../agent/model/model.ts'
import type { Audit } from './audit.ts'
import { entriesOf, lineOf } from './checkpoint-names.ts'
import { coverageFault } from './coverage.ts'
import { HISTORY } from './history.ts'
import { HOSTILE } from './hostile-peer.ts'
import type { VolumeTruth } from './oracle.ts'
import type { Commit } from './raft-group.ts'
import { isBelow, isGuarded, writerOn } from './record-facts.ts'
import { RemovalAuditor } from './removal-auditor.ts'
import { TakeOverAuditor } from './take-over-auditor.ts'
import { EMPTY } from './tree.ts'
import type { SimWorld } from './world.ts'

/** The questions and the write that make a new volume may take so long. */
const ASKED_MS = 20_000

/** Checks every commit of the registry, whoever wrote it. */
export class CommitAuditor {
  readonly #world: SimWorld
  readonly #audit: Audit
  readonly #removals: RemovalAuditor
  readonly #takeOvers: TakeOverAuditor

  constructor(world: SimWorld, audit: Audit) {
    this.#world = world
    this.#audit = audit
    this.#removals = new RemovalAuditor(world, audit)
    this.#takeOvers = new TakeOverAuditor(world, audit)
  }

  audit({ group, before, value, writer }: Commit): void {
    if (group === 'hosts') this.#heartbeat(value as HostRecord | null, writer)
    if (group !== 'volumes') return
    const now = value as VolumeRecord | null
    this.#world.trace(writer, `commits ${now === null ? 'a removal' : inShort(now)}`)
    const old = before as VolumeRecord | null
    if (now === null) {
      if (old !== null) this.#deleted(old)
      return
    }
    const { oracle } = this.#audit
    const truth = oracle.of(now.id)
    if (old === null) oracle.madeMs.set(now.name, this.#world.timeline.nowMs)
    if (truth === undefined) {
      for (const other of oracle.standing(now.name)) this.#madeOver(other, now, writer)
      oracle.add(now)
      return
    }
    if (truth.removed) this.#audit.failed('promise 7', `${now.name} (${now.id}) was removed and is back`)
    const known = truth.record
    truth.record = now
    if (writer === HISTORY || writer === HOSTILE) return
    if (old === null) this.#rebuilt(truth, known, now, writer)
    else this.#changed(truth, old, now, writer)
  }

  #heartbeat(now: HostRecord | null, writer: string): void {
    if (now === null) return
    if (now.id === writer && now.expiredBy === null) this.#audit.renewed(writer)
    const fault = coverageFault(this.#world, this.#audit.oracle, now)
    if (fault !== null) this.#audit.failed('promise 5', fault)
  }

  #changed(truth: VolumeTruth, old: VolumeRecord, now: VolumeRecord, writer: string): void {
    for (const checkpoint of lineOf(now)) this.#audit.named(now.id, checkpoint, true, `the record by ${writer}`)
    for (const checkpoint of entriesOf(now)) this.#audit.named(now.id, checkpoint, false, `a copy by ${writer}`)
    if (now.epoch < old.epoch)
      this.#audit.failed('promise 8', `the epoch of ${now.name} went from ${old.epoch} to ${now.epoch}`)
    const newHold = now.holder !== null && now.holder.incarnation !== old.holder?.incarnation
    if (newHold && now.epoch <= old.epoch)
      this.#audit.failed('promise 8', `${now.name} is held again without a new epoch`)
    if (now.holder !== null && now.removedAt !== null)
      this.#audit.failed('promise 7', `${now.name} is held by ${now.holder.host} although it is removed`)
    if (now.removedAt !== null && old.removedAt === null && !this.#world.operators.removing.has(now.name))
      this.#audit.failed('promise 7', `${writer} removes ${now.name}, which nobody asked for`)
    const isRemoval = now.removedAt !== null && old.removedAt === null
    if (isRemoval) this.#removals.unreferred(now, writer)
    // An operator may also promote on the holder's own host.
    const isSeizure = now.seizures.at(-1)?.epoch === now.epoch && now.epoch > old.epoch
    const hasLeft = old.holder !== null && old.holder.incarnation !== now.holder?.incarnation
    const taken = hasLeft && (isSeizure || writer !== old.holder?.host)
    const givenUp = old.holder === null && isSeizure
    if (isRemoval && hasLeft) this.#removals.fromHolder(truth, old, now, writer)
    else if (taken || givenUp) this.#takeOvers.takenOver(truth, old, now, writer)
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

  #deleted(old: VolumeRecord): void {
    const truth = this.#audit.oracle.of(old.id)
    if (old.removedAt === null) this.#audit.failed('promise 7', `the record of ${old.name} was deleted`)
    if (truth !== undefined) truth.removed = true
  }

  /** The last holder holds the volume again. */
  #continues(truth: VolumeTruth, host: string): void {
    const tree = this.#world.machine(host).disk.shelf(truth.record.id)?.tree
    if (tree !== undefined && truth.head.isPrefixOf(tree)) truth.head = tree
    truth.forks.delete(host)
  }

  /** A volume is made while another one of its name was not removed. No host may do so that can see the data. */
  #madeOver(other: VolumeTruth, now: VolumeRecord, writer: string): void {
    const { network, machines, serving, timeline, trace } = this.#world
    trace(writer, `CHECKER: ${now.name} is made anew over ${other.record.id}`)
    const { id } = other.record
    const seen = machines().find(({ host, disk, agent }) => {
      const record = disk.shelf(id)?.record
      // Of a hold that was intended and never committed nothing was mounted, whatever an older release left of it.
      const epochs = [record?.held?.epoch, record?.checkpoint?.epoch]
      const hasData = epochs.some((epoch) => epoch !== undefined && epoch <= (record?.epochSeen ?? 0))
      // The question was asked some time before its reply made the volume.
      const answers =
        agent !== null && timeline.nowMs - Math.max(agent.servesSinceMs, agent.process.stuckUntilMs) > ASKED_MS
      // Who has the key of a host can hide what it has.
      const isHidden = this.#world.hostile?.host === host
      return (
        hasData && answers && !isHidden && serving(host) !== null && disk.slowness === 1 && network.linked(writer, host)
      )
    })
    if (seen !== undefined && network.trouble === 0 && timeline.nowMs - network.healedMs > ASKED_MS)
      this.#audit.failed('promise 2', `${writer} made ${now.name} anew, and ${seen.host} has its data`)
  }

  /** A holder that is not fenced must not be open to a take-over. */
  #exposes(now: VolumeRecord, holder: string): void {
    const { plugin, unaware } = this.#world.machine(holder)
    const writes = writerOn(this.#world, holder, now.id)
    if (writes === null || unaware || plugin === null || plugin.knows(now.id)) return
    if (this.#world.options.onIsolation === 'pause' && isGuarded(now, holder))
      this.#audit.failed('promise 1', `${now.name} was rebuilt with copies, and nothing fences ${writes} on ${holder}`)
  }

  /** The registry had lost the record, and the disks of the hosts had the volume. */
  #rebuilt(truth: VolumeTruth, known: VolumeRecord, now: VolumeRecord, writer: string): void {
    const { machine, machines } = this.#world
    const { holder } = known
    this.#audit.oracle.rename(truth)
    if (now.holder !== null) this.#continues(truth, now.holder.host)
    // A promotion alone is on no disk: it may be undone until somebody holds the volume.
    const seen = machines().map(({ disk }) => disk.shelf(now.id)?.record.epochSeen ?? 0)
    if (now.epoch < Math.max(...seen))
      this.#audit.failed(
        'promise 8',
        `${now.name} was rebuilt at epoch ${now.epoch}, a disk has seen ${Math.max(...seen)}`,
      )
    if (now.holder !== null && now.holder.incarnation !== truth.incarnation)
      this.#audit.failed('promise 1', `${now.name} was rebuilt as held by ${now.holder.host}, which is not its holder`)
    if (now.holder !== null) this.#exposes(now, now.holder.host)
    const base = now.last === null ? EMPTY : truth.trees.get(now.last.hash)
    if (base === undefined || !base.isPrefixOf(truth.head)) {
      this.#audit.failed('promise 2', `${now.name} was rebuilt at ${base}, which is not of the line of ${truth.head}`)
      return
    }
    if (now.last !== null) truth.committed.unshift(base)
    if (now.holder !== null || (holder === null && base === truth.head)) return
    const writes = holder !== null && machine(holder.host).on && writerOn(this.#world, holder.host, now.id)
    // A machine that was stopped does not know yet that its lease has expired.
    const isUnaware = holder !== null && machine(holder.host).unaware && Boolean(writes)
    if (holder !== null && (isUnaware || this.#world.options.onIsolation === 'continue'))
      truth.forks.set(holder.host, truth.head)
    else if (writes)
      this.#audit.failed('promise 1', `${writer} rebuilt ${now.name} as idle while ${writes} could write it`)
    if (truth.head.ackedPart().length > base.length)
      truth.abandoned.push({ host: holder?.host ?? null, tree: truth.head })
    truth.head = base
  }

  #newLast(truth: VolumeTruth, old: VolumeRecord, now: VolumeRecord, last: Checkpoint): void {
    this.#audit.totals.checkpoints++
    truth.lastChangedMs = this.#world.timeline.nowMs
    const tree = truth.trees.get(last.hash)
    if (tree === undefined) {
      this.#audit.failed('promise 4', `checkpoint ${last.epoch}.${last.seq} of ${now.name} is no tree that ever was`)
      return
    }
    truth.committed.unshift(tree)
    const givenUp = now.seizures.at(-1)?.epoch === now.epoch && now.epoch > old.epoch
    if (old.last !== null && isBelow(last, old.last) && !givenUp) {
      this.#audit.failed(
        'promise 5',
        `the newest checkpoint of ${now.name} went from ${old.last.epoch}.${old.last.seq} to ${last.epoch}.${last.seq}`,
      )
    }
    if (!tree.isPrefixOf(truth.head)) {
      this.#audit.failed(
        'promise 3',
        `checkpoint ${last.epoch}.${last.seq} of ${now.name} (${tree}) is not of the line of ${truth.head}`,
      )
    }
  }

  #released(truth: VolumeTruth, now: VolumeRecord, by: string): void {
    const writer = writerOn(this.#world, by, now.id)
    if (writer !== null)
      this.#audit.failed('promise 3', `${now.name} was released by ${by} while ${writer} could write it`)
    const tree = this.#world.machine(by).disk.shelf(now.id)?.tree
    if (now.last === null || tree === undefined || tree.hash !== now.last.hash) {
      this.#audit.failed('promise 3', `${now.name} was released by ${by} at ${now.last?.hash}, but its tree is ${tree}`)
    }
    if (tree !== undefined) truth.head = tree
  }

  /** The record has dropped a host's copy: another disk must have the newest checkpoint. */
  #dropped({ name }: VolumeTruth, now: VolumeRecord, host: string): void {
    this.#audit.totals.dropped++
    const { last } = now
    if (last === null || now.removedAt !== null) return
    const others = this.#world.machines().filter(({ disk, host: other }) => {
      const checkpoint = other === host ? null : (disk.shelf(now.id)?.record.checkpoint ?? null)
      return checkpoint !== null && !isBelow(checkpoint, last)
    })
    if (others.length === 0)
      this.#audit.failed(
        'promise 7',
        `${host} gives its copy of ${name} up, and no other disk has ${last.epoch}.${last.seq}`,
      )
  }
}

/** A record in a line, for traces. */
function inShort({ name, epoch, holder, last, copies, removedAt }: VolumeRecord): string {
  const which = last === null ? 'nothing' : `${last.epoch}.${last.seq} (${last.hash})`
  const states = Object.entries(copies).map(([host, copy]) => `${host} ${copy.state} ${copy.epoch}.${copy.seq}`)
  const over = removedAt === null ? '' : ', removed'
  return `${name}: epoch ${epoch}, held by ${holder?.host ?? 'nobody'}, last ${which}; ${states.join(', ')}${over}`
}
