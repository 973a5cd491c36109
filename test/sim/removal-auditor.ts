import type { VolumeRecord } from '../../agent/model/model.ts'
import type { Audit } from './audit.ts'
import type { VolumeTruth } from './oracle.ts'
import { isGuarded, writerOn } from './record-facts.ts'
import type { SimWorld } from './world.ts'

/** A removal asks and marks within so long; a write whose reply was lost may come later. */
const ASKED_LONG_AGO_MS = 45_000
/** A host that is well for so long has reported its containers. */
const KNOWS_MS = 5_000

/** Checks what a removal of a volume may do (promise 7). */
export class RemovalAuditor {
  readonly #world: SimWorld
  readonly #audit: Audit

  constructor(world: SimWorld, audit: Audit) {
    this.#world = world
    this.#audit = audit
  }

  /** A removal must know that nothing refers to the volume, running or not. */
  unreferred({ name }: VolumeRecord, writer: string): void {
    const { swarm, timeline, machines } = this.#world
    if (swarm.isNamed(name)) this.#audit.failed('promise 7', `${writer} removes ${name}, which a service names`)
    for (const { host, containers } of machines()) {
      // What came after the question is too late; what is known of a host in trouble may be old.
      const known = containers.all.find(
        (one) => one.volume === name && timeline.nowMs - one.createdMs > ASKED_LONG_AGO_MS,
      )
      if (known !== undefined && this.#audit.liveness.wellForMs(host) > KNOWS_MS)
        this.#audit.failed('promise 7', `${writer} removes ${name}, and ${known.id} (${known.state}) on ${host} has it`)
    }
  }

  /** The holder has released it for the removal, or was given up itself: then its epoch is over. */
  fromHolder(truth: VolumeTruth, old: VolumeRecord, now: VolumeRecord, by: string): void {
    const writer = old.holder === null ? null : writerOn(this.#world, old.holder.host, now.id)
    if (now.epoch > old.epoch) this.#lostForGood(truth, old, now, by)
    else if (writer !== null) this.#audit.failed('promise 7', `${now.name} was removed while ${writer} could write it`)
  }

  /** A removal without the holder: its tree must be set aside when it returns. */
  #lostForGood(truth: VolumeTruth, old: VolumeRecord, now: VolumeRecord, by: string): void {
    const { machine, operators, options } = this.#world
    const from = old.holder?.host ?? ''
    this.#world.trace(by, `CHECKER: ${now.name} was given up with ${from}`)
    if (!operators.givenUp.has(now.name))
      this.#audit.failed('promise 7', `${by} removed ${now.name} without its holder, and nobody accepted that`)
    this.#audit.totals.givenUp++
    const writer = machine(from).on ? writerOn(this.#world, from, now.id) : null
    // A volume without another copy is never fenced: it is written to until its host learns of the removal.
    if (!isGuarded(old, from)) truth.unguarded.add(from)
    if (options.onIsolation === 'continue' || !isGuarded(old, from)) truth.forks.set(from, truth.head)
    // A machine that was stopped does not know yet that its lease has expired.
    else if (writer !== null && machine(from).unaware) truth.forks.set(from, truth.head)
    else if (writer !== null)
      this.#audit.failed('promise 6', `${now.name} was given up by ${by} while ${writer} on ${from} could write it`)
    truth.givenUp = { host: from, tree: truth.head }
  }
}
