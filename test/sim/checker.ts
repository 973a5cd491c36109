import { WherryError } from '../../agent/errors.ts'
import type { Checkpoint, VolumeRecord } from '../../agent/model.ts'
import type { LocalCopy } from '../../agent/store/contract.ts'
import type { TreeRequest } from '../../agent/transfer/contract.ts'
import { type Container, canWrite } from './containers.ts'
import type { Commit } from './raft-group.ts'
import { EMPTY, type Tree } from './tree.ts'
import { VolumeTruth } from './truth.ts'
import { Vigil } from './vigil.ts'
import type { World } from './world.ts'

export interface Failure {
  readonly atMs: number
  /** "promise 1", "liveness", "bug". */
  readonly rule: string
  readonly text: string
}

/** Counted over a run, for the line of totals. */
export interface Totals {
  mounts: number
  seizures: number
  fences: number
  writes: number
  lost: number
  checkpoints: number
}

/** A host that knows better than the registry goes by what it knows. */
const KEPT_WHEN_SET_BACK = ['promise 8', 'bug']
/** What a holder may write after it was last heard of: its lease, the heartbeat before, and drift. */
const FENCE_SLACK_S = 10
/** Whoever carried on while the registry had no leader was not heard of and wrote all the same: for so long after it is not known how long that was. */
const OUTAGE_MS = 90_000

/** Looks at everything from outside and knows nothing of how the decisions are made: only what must never be seen. */
export class Checker {
  readonly failures: Failure[] = []
  readonly totals: Totals = { mounts: 0, seizures: 0, fences: 0, writes: 0, lost: 0, checkpoints: 0 }
  /** Only planned moves and restarts: nothing may be lost. */
  planned = false
  /** The registry has lost changes: what rests on it alone cannot be promised any more. */
  setBack = false
  readonly vigil: Vigil
  readonly #world: World
  readonly #volumes = new Map<string, VolumeTruth>()
  #numbers = 0

  constructor(world: World) {
    this.#world = world
    this.vigil = new Vigil(world)
  }

  failed(rule: string, text: string): void {
    if (this.setBack && !KEPT_WHEN_SET_BACK.includes(rule)) return
    const atMs = this.#world.timeline.nowMs
    this.failures.push({ atMs, rule, text })
    this.#world.trace('CHECKER', `${rule}: ${text}`)
  }

  /** Whether a paused container is one of a fence, or of a volume that has gone on elsewhere. */
  isFenced(host: string, container: Container): boolean {
    return this.#hasFence(host, container) || this.#world.registry.record(container.volume)?.holder?.host !== host
  }

  #hasFence(host: string, { id }: Container): boolean {
    const notes = [...this.#world.machine(host).notes.values()]
    return notes.some((note) => note.container === id && note.reason === 'fence')
  }

  // --- what containers do

  changed(host: string, container: Container): void {
    this.#world.trace(host, `${container.id} ${container.alive ? container.state : 'is dead'}`)
    if (container.state === 'paused' && this.#hasFence(host, container)) this.#fenced(host, container)
    if (!canWrite(container)) return
    for (const machine of this.#world.machines()) {
      if (machine.host === host || !machine.on) continue
      const other = machine.containers.all.find((one) => one.volume === container.volume && canWrite(one))
      if (other === undefined) continue
      this.failed(
        'promise 1',
        `${container.id} on ${host} and ${other.id} on ${machine.host} can both write ${container.volume}`,
      )
    }
  }

  write(host: string, container: Container): void {
    const record = this.#world.registry.record(container.volume)
    if (record === null) {
      this.failed('promise 10', `the record of ${container.volume} is gone`)
      return
    }
    if (record.holder?.host !== host && canWrite(container)) {
      this.failed(
        'promise 1',
        `${container.id} on ${host} writes ${container.volume}, which is held by ${record.holder?.host ?? 'nobody'}`,
      )
    }
    const { disk } = this.#world.machine(host)
    const entry = { number: ++this.#numbers, host, container: container.id, atMs: this.#world.timeline.nowMs }
    const tree = disk.append(record.id, entry)
    if (tree === null) return
    this.totals.writes++
    const truth = this.#truth(container.volume)
    truth.trees.set(tree.hash, tree)
    if (record.holder?.host === host) truth.head = tree
  }

  /** Docker has a Mount's answer. */
  mounted(host: string, container: Container): void {
    this.totals.mounts++
    const { volume } = container
    const record = this.#world.registry.record(volume)
    const shelf = record === null ? undefined : this.#world.machine(host).disk.shelf(record.id)
    if (record === null || shelf === undefined) {
      this.failed('promise 2', `${volume} was mounted on ${host} without a copy`)
      return
    }
    if (record.holder?.host !== host) {
      this.failed('promise 1', `${volume} was mounted on ${host}, but it is held by ${record.holder?.host ?? 'nobody'}`)
    }
    if (shelf.record.held === null)
      this.failed('promise 1', `${volume} was mounted on ${host} without a hold on its disk`)
    if (shelf.record.applying || shelf.journal !== null)
      this.failed('promise 4', `${volume} on ${host} was mounted half applied`)
    const truth = this.#truth(volume)
    const last = record.last === null ? EMPTY : truth.trees.get(record.last.hash)
    const { tree } = shelf
    if (last === undefined || !last.isPrefixOf(tree)) {
      this.failed(
        'promise 2',
        `${volume} on ${host} shows ${tree}, which is no successor of ${last ?? 'an unknown checkpoint'}`,
      )
    }
    if (!truth.head.ackedPart().isPrefixOf(tree)) {
      this.failed('promise 3', `${volume} on ${host} shows ${tree}, but ${truth.head.ackedPart()} were acknowledged`)
    } else if (!tree.isPrefixOf(truth.head)) {
      this.failed('promise 3', `${volume} on ${host} shows ${tree}, which is not of the line of ${truth.head}`)
    }
  }

  // --- what the registry commits

  committed({ group, before, value, writer }: Commit): void {
    if (group !== 'volumes') return
    const old = before as VolumeRecord | null
    const now = value as VolumeRecord | null
    this.#world.trace(writer, `commits ${now === null ? 'a removal' : inShort(now)}`)
    if (old === null) return
    if (now === null) {
      this.failed('promise 7', `the record of ${old.name} was deleted`)
      return
    }
    if (now.epoch < old.epoch)
      this.failed('promise 8', `the epoch of ${now.name} went from ${old.epoch} to ${now.epoch}`)
    const newHold = now.holder !== null && now.holder.incarnation !== old.holder?.incarnation
    if (newHold && now.epoch <= old.epoch) this.failed('promise 8', `${now.name} was held anew without a new epoch`)
    const truth = this.#truth(now.name)
    const taken =
      old.holder !== null && old.holder.incarnation !== now.holder?.incarnation && writer !== old.holder.host
    if (taken && old.holder !== null) this.#seized(truth, old, now, old.holder.host, writer)
    if (now.last !== null && now.last.hash !== old.last?.hash) this.#newLast(truth, old, now, now.last)
    if (old.holder !== null && now.holder === null && writer === old.holder.host) this.#released(truth, now, writer)
  }

  #seized(truth: VolumeTruth, old: VolumeRecord, now: VolumeRecord, from: string, by: string): void {
    this.totals.seizures++
    this.#world.trace(by, `CHECKER: ${now.name} was taken from ${from} at epoch ${now.epoch}`)
    const machine = this.#world.machine(from)
    const writer = machine.on
      ? machine.containers.all.find((one) => one.volume === now.name && canWrite(one))
      : undefined
    if (writer !== undefined)
      this.failed('promise 6', `${now.name} was seized by ${by} while ${writer.id} on ${from} could write it`)
    const base = now.last === null ? EMPTY : truth.trees.get(now.last.hash)
    if (base === undefined || !base.isPrefixOf(truth.head)) {
      this.failed(
        'promise 5',
        `${now.name} goes on from ${base ?? 'an unknown checkpoint'}, which is not of the line of ${truth.head}`,
      )
      return
    }
    if (old.last !== null && (now.last === null || below(now.last, old.last))) {
      this.failed('promise 5', `${now.name} was seized below its newest checkpoint ${old.last.epoch}.${old.last.seq}`)
    }
    this.#lost(truth, now, base, from)
  }

  #lost(truth: VolumeTruth, now: VolumeRecord, base: Tree, from: string): void {
    const lost = truth.head.ackedPart().length - base.length
    if (lost <= 0) {
      truth.head = base
      return
    }
    this.totals.lost += lost
    if (this.planned)
      this.failed(
        'promise 3',
        `${lost} acknowledged records of ${now.name} were lost without a fault that could cost them`,
      )
    const seizure = now.seizures.at(-1)
    const first = at(truth.head, base.length + 1)
    const last = truth.head.entry
    if (seizure === undefined || seizure.epoch !== now.epoch)
      this.failed('promise 5', `the seizure of ${now.name} is not recorded`)
    else if (
      first?.entry != null &&
      last !== null &&
      this.#world.timeline.nowMs - this.vigil.leaderlessMs > OUTAGE_MS
    ) {
      const spanS = (last.atMs - first.entry.atMs) / 1_000
      if (spanS > seizure.ageSeconds + FENCE_SLACK_S) {
        this.failed('promise 5', `${now.name} lost ${spanS.toFixed(1)} s of writes, said were ${seizure.ageSeconds} s`)
      }
    }
    truth.abandoned.push({ host: from, tree: truth.head })
    truth.head = base
  }

  #newLast(truth: VolumeTruth, old: VolumeRecord, now: VolumeRecord, last: Checkpoint): void {
    this.totals.checkpoints++
    truth.lastChangedMs = this.#world.timeline.nowMs
    const tree = truth.trees.get(last.hash)
    if (tree === undefined) {
      this.failed('promise 4', `checkpoint ${last.epoch}.${last.seq} of ${now.name} is no tree that ever was`)
      return
    }
    truth.committed.unshift(tree)
    if (old.last !== null && below(last, old.last)) {
      this.failed(
        'promise 5',
        `the newest checkpoint of ${now.name} went from ${old.last.epoch}.${old.last.seq} to ${last.epoch}.${last.seq}`,
      )
    }
    if (!tree.isPrefixOf(truth.head)) {
      this.failed(
        'promise 3',
        `checkpoint ${last.epoch}.${last.seq} of ${now.name} (${tree}) is not of the line of ${truth.head}`,
      )
    }
  }

  #released(truth: VolumeTruth, now: VolumeRecord, by: string): void {
    const { containers, disk } = this.#world.machine(by)
    const writer = containers.all.find((one) => one.volume === now.name && canWrite(one))
    if (writer !== undefined)
      this.failed('promise 3', `${now.name} was released by ${by} while ${writer.id} could write it`)
    const tree = disk.shelf(now.id)?.tree
    if (now.last === null || tree === undefined || tree.hash !== now.last.hash) {
      this.failed('promise 3', `${now.name} was released by ${by} at ${now.last?.hash}, but its tree is ${tree}`)
    }
    if (tree !== undefined) truth.head = tree
  }

  // --- what disks and hosts do

  replaced(host: string, id: string, before: Tree, after: Tree | null, why: string): void {
    const name = this.#nameOf(id)
    if (name === null || why === 'diverge' || before.length === 0) return
    const truth = this.#truth(name)
    const { disk } = this.#world.machine(host)
    if (after === null && (disk.shelf(id)?.diverged.length ?? 0) > 0) {
      this.failed('promise 7', `a diverged copy of ${name} on ${host} went to the trash`)
    }
    const known =
      (after !== null && before.isPrefixOf(after)) || truth.committed.some((tree) => before.isPrefixOf(tree))
    if (!known)
      this.failed(
        'promise 7',
        `${before} of ${name} on ${host}, which the cluster never got, fell to ${why} ${after ?? ''}`,
      )
    const last = truth.committed[0]
    if (last === undefined || (after !== null && last.isPrefixOf(after))) return
    const others = this.#world.machines().some((machine) => {
      const shelf = machine.host === host ? undefined : machine.disk.shelf(id)
      return (
        shelf !== undefined &&
        (last.isPrefixOf(shelf.tree) || (shelf.journal !== null && last.isPrefixOf(shelf.journal.target)))
      )
    })
    if (!others) this.failed('promise 7', `the last copy of ${name} at ${last} fell to ${why} on ${host}`)
  }

  recordChanged(host: string, before: LocalCopy, after: LocalCopy): void {
    if (after.epochSeen < before.epochSeen) {
      this.failed('promise 8', `the disk of ${host} forgot epoch ${before.epochSeen} of ${after.name}`)
    }
    if (after.diverged.length < before.diverged.length) {
      this.failed('promise 7', `${host} forgot a diverged copy of ${after.name}`)
    }
  }

  /** A host gave another one its tree. */
  served(host: string, request: TreeRequest): void {
    const seen = this.#world.machine(host).disk.shelf(request.volume)?.record.epochSeen ?? 0
    if (request.epoch < seen) {
      this.failed(
        'promise 8',
        `${host} has seen epoch ${seen} of ${request.volume} and answered a request of epoch ${request.epoch}`,
      )
    }
  }

  /** A call of Docker's ended with an error. */
  answered(host: string, code: string | undefined, error: unknown): void {
    if (code === 'VOLUME_NOT_FOUND') this.failed('promise 10', `${host} said that there is no such volume`)
    if (code === undefined || code === 'INTERNAL') {
      this.failed('bug', `${host} answered ${error instanceof Error ? error.stack : String(error)}`)
    }
  }

  /** What was written but was not safe when the power went is gone, and nobody was told otherwise. */
  powerCut(host: string): void {
    for (const name of this.#world.volumes) {
      const truth = this.#truth(name)
      const record = this.#world.registry.record(name)
      const tree = record === null ? undefined : this.#world.machine(host).disk.shelf(record.id)?.tree
      if (record?.holder?.host === host && tree?.isPrefixOf(truth.head)) truth.head = tree
    }
  }

  /** Nothing that was given up may be gone: it lies on its disk, or has become part of the line after all. */
  finish(): void {
    for (const [name, truth] of this.#volumes) {
      const id = this.#world.registry.record(name)?.id ?? ''
      for (const { host, tree } of truth.abandoned) {
        const kept = tree.ackedPart()
        const { disk } = this.#world.machine(host)
        const shelf = disk.shelf(id)
        const trees = [shelf?.tree, ...(shelf?.diverged ?? [])]
        if (trees.some((one) => one !== undefined && kept.isPrefixOf(one))) continue
        this.failed('promise 7', `${kept} of ${name}, given up by a seizure, are not on ${host} any more`)
      }
    }
  }

  /** When the newest checkpoint of a volume was committed. */
  lastCheckpointMs(name: string): number {
    return this.#truth(name).lastChangedMs
  }

  #fenced(host: string, container: Container): void {
    this.totals.fences++
    const record = this.#world.registry.record(container.volume)
    // A container of a volume that has moved on is to be stopped, whatever the lease says.
    if (record?.holder?.host !== host) return
    const why = this.vigil.whyNotToFence(host)
    if (why !== null) this.failed('promise 6', `${container.id} on ${host} was fenced although ${why}`)
  }

  #truth(name: string): VolumeTruth {
    const known = this.#volumes.get(name)
    if (known !== undefined) return known
    const truth = new VolumeTruth()
    this.#volumes.set(name, truth)
    return truth
  }

  #nameOf(id: string): string | null {
    return this.#world.volumes.find((name) => this.#world.registry.record(name)?.id === id) ?? null
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

/** Whether an error in a log is a programming error: those of ours have a code, and waits that ended say so. */
export function isBug(error: unknown): boolean {
  if (!(error instanceof Error) || error instanceof WherryError) return false
  return error.name !== 'AbortError'
}

/** A record in a line, for traces. */
function inShort({ name, epoch, holder, last, copies }: VolumeRecord): string {
  const which = last === null ? 'nothing' : `${last.epoch}.${last.seq} (${last.hash})`
  const states = Object.entries(copies).map(([host, copy]) => `${host} ${copy.state} ${copy.epoch}.${copy.seq}`)
  return `${name}: epoch ${epoch}, held by ${holder?.host ?? 'nobody'}, last ${which}; ${states.join(', ')}`
}
