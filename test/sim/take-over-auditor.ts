import type { Checkpoint, VolumeRecord } from '../../agent/model/model.ts'
import type { Audit } from './audit.ts'
import type { VolumeTruth } from './oracle.ts'
import { isBelow, isGuarded, writerOn } from './record-facts.ts'
import { EMPTY, type Tree } from './tree.ts'
import type { SimWorld } from './world.ts'

/** What a holder may write after its last heartbeat: its lease, the heartbeat before, and drift. */
const FENCE_SLACK_S = 10
/**
 * A holder that carried on while the registry had no leader sent no heartbeats. For so long after an outage it is not
 * known how long that was.
 */
const OUTAGE_MS = 90_000

/** Checks which checkpoint a take-over continues from, and what it says that was lost (promises 2, 5 and 6). */
export class TakeOverAuditor {
  readonly #world: SimWorld
  readonly #audit: Audit

  constructor(world: SimWorld, audit: Audit) {
    this.#world = world
    this.#audit = audit
  }

  takenOver(truth: VolumeTruth, old: VolumeRecord, now: VolumeRecord, by: string): void {
    const { machine, operators } = this.#world
    const from = old.holder?.host ?? null
    const { failover, onIsolation } = this.#world.options
    this.#audit.totals.seizures++
    this.#world.trace(by, `CHECKER: ${now.name} was taken from ${from ?? 'nobody'} at epoch ${now.epoch}`)
    const asked = operators.hasPromoted(now.name, by, false)
    if (!asked && (failover === 'manual' || onIsolation === 'continue' || from === null))
      this.#audit.failed('promise 5', `${by} took ${now.name} over, and no operator asked for it`)
    const writer = from !== null && machine(from).on ? writerOn(this.#world, from, now.id) : null
    if (from !== null && !isGuarded(old, from) && operators.hasPromoted(now.name, by, true)) truth.unguarded.add(from)
    if (from !== null && onIsolation === 'continue') truth.forks.set(from, truth.head)
    else if (from !== null && machine(from).unaware) {
      if (writer !== null) truth.forks.set(from, truth.head)
    } else if (writer !== null)
      this.#audit.failed('promise 6', `${now.name} was taken over by ${by} while ${writer} on ${from} could write it`)
    const base = now.last === null ? EMPTY : truth.trees.get(now.last.hash)
    if (base === undefined || !base.isPrefixOf(truth.head)) {
      this.#audit.failed(
        'promise 5',
        `${now.name} continues from ${base ?? 'an unknown checkpoint'}, which is not of the line of ${truth.head}`,
      )
      return
    }
    if (now.last !== null && !this.#isKept(old, now.last))
      this.#audit.failed(
        'promise 2',
        `${now.name} continues from ${now.last.epoch}.${now.last.seq}, which no disk has for it`,
      )
    const losesMore = old.last !== null && (now.last === null || isBelow(now.last, old.last))
    if (losesMore && !operators.hasPromoted(now.name, by, true))
      this.#audit.failed(
        'promise 5',
        `${now.name} was taken over below its newest checkpoint ${old.last?.epoch}.${old.last?.seq}`,
      )
    this.#lost(truth, now, base, from)
  }

  /**
   * Whether a disk has the checkpoint, and keeps it when the volume continues from it. A held tree would be set aside.
   */
  #isKept({ id, epoch, holder }: VolumeRecord, { hash }: Checkpoint): boolean {
    return this.#world.machines().some(({ disk }) => {
      const record = disk.shelf(id)?.record
      if (record?.checkpoint?.hash !== hash || record.applying) return false
      const { held, epochSeen } = record
      // Not when the hold was only intended, or has ended by the record.
      return held === null || epochSeen < held.epoch || (holder === null && held.epoch === epoch)
    })
  }

  #lost(truth: VolumeTruth, now: VolumeRecord, base: Tree, from: string | null): void {
    const { timeline } = this.#world
    const { totals, liveness } = this.#audit
    const lost = truth.head.ackedPart().length - base.length
    if (lost <= 0) {
      truth.head = base
      return
    }
    totals.lost += lost
    if (this.#audit.planned)
      this.#audit.failed(
        'promise 3',
        `${lost} acknowledged records of ${now.name} were lost without a fault that could cost them`,
      )
    const seizure = now.seizures.at(-1)
    const first = partOf(truth.head, base.length + 1)
    const last = truth.head.entry
    if (seizure === undefined || seizure.epoch !== now.epoch)
      this.#audit.failed('promise 5', `the take-over of ${now.name} is not recorded`)
    else if (seizure.base.hash !== now.last?.hash)
      this.#audit.failed('promise 5', `the take-over of ${now.name} names another checkpoint than it continues from`)
    else if (first?.entry != null && last !== null && timeline.nowMs - liveness.leaderlessMs > OUTAGE_MS) {
      const spanS = (last.atMs - first.entry.atMs) / 1_000
      if (spanS > seizure.ageSeconds + FENCE_SLACK_S)
        this.#audit.failed(
          'promise 5',
          `${now.name} lost ${spanS.toFixed(1)} s of writes, said were ${seizure.ageSeconds} s`,
        )
    }
    truth.abandoned.push({ host: from, tree: truth.head })
    truth.head = base
  }
}

/** The first `length` records of a tree. */
function partOf(tree: Tree, length: number): Tree | null {
  let found: Tree | null = tree
  while (found !== null && found.length > length) found = found.before
  return found
}
