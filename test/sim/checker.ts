import { codeOf } from '../../agent/model/errors.ts'
import type { Checkpoint, VolumeRecord } from '../../agent/model/model.ts'
import type { LocalCopy } from '../../agent/store/contract.ts'
import type { TreeRequest } from '../../agent/transfer/contract.ts'
import { CheckpointNames } from './checkpoint-names.ts'
import { CommitAuditor } from './commit-auditor.ts'
import { type Container, canWrite } from './containers.ts'
import { DataChecker } from './data-checker.ts'
import { FreezeChecker } from './freeze-checker.ts'
import { LivenessChecker } from './liveness-checker.ts'
import { Oracle, type VolumeTruth } from './oracle.ts'
import { isLastSetAside } from './record-facts.ts'
import { noTotals } from './totals.ts'
import { EMPTY } from './tree.ts'
import { VersionAuditor } from './version-auditor.ts'
import type { SimWorld } from './world.ts'

export interface Violation {
  readonly atMs: number
  /** "promise 1", "liveness", "bug". */
  readonly rule: string
  readonly text: string
}

/** Rules that hold also when the registry was set back: a host goes by what its disk knows. */
const KEPT_WHEN_SET_BACK = ['promise 8', 'bug']
/** For so long a former leader may reply with what was true before a volume was made. */
const STALE_MOST_MS = 30_000

/** A host that can renew its lease has done so by then, and notified its watchdog. */
const LEASED_AFTER_MS = 5_000
/** Watches a run from outside. It knows what must never be seen, and not how decisions are made. */
export class Checker {
  readonly failures: Violation[] = []
  readonly totals = noTotals()
  /** Only planned moves and restarts: nothing may be lost. */
  planned = false
  /**
   * The registry has lost changes, or an operator has made a volume anew over its data. What rests on the registry
   * alone cannot be promised any more.
   */
  setBack = false
  /** It came back empty, and was or will be rebuilt by the disks. */
  wiped = false
  readonly liveness: LivenessChecker
  readonly oracle = new Oracle()
  readonly names = new CheckpointNames()
  readonly commits: CommitAuditor
  readonly freezes: FreezeChecker
  readonly data: DataChecker
  readonly versions = new VersionAuditor((rule, text) => this.failed(rule, text))
  readonly #world: SimWorld
  #numbers = 0

  constructor(world: SimWorld) {
    this.#world = world
    this.liveness = new LivenessChecker(world)
    this.commits = new CommitAuditor(world, this)
    this.freezes = new FreezeChecker(world, (rule, text) => this.failed(rule, text))
    this.data = new DataChecker(world, this)
  }

  failed(rule: string, text: string): void {
    if (this.setBack && !KEPT_WHEN_SET_BACK.includes(rule)) return
    const atMs = this.#world.timeline.nowMs
    this.failures.push({ atMs, rule, text })
    this.#world.trace('CHECKER', `${rule}: ${text}`)
  }

  /** Whether a container is paused by a fence, or its volume is held elsewhere by now. */
  isFenced(host: string, container: Container): boolean {
    return this.#hasFence(host, container) || this.#recordOf(container)?.holder?.host !== host
  }

  /** Whether an operator may resume the container: its host has its lease, as far as anybody can tell. */
  mayResume(host: string, container: Container): boolean {
    const { registry } = this.#world
    const leased = registry.host(host)?.expiredBy === null && this.liveness.wellForMs(host) > LEASED_AFTER_MS
    return leased && this.#recordOf(container)?.holder?.host === host
  }

  #hasFence(host: string, { id }: Container): boolean {
    return [...this.#world.machine(host).notes.values()].some(({ container }) => container === id)
  }

  // --- what containers do

  changed(host: string, container: Container): void {
    this.#world.trace(host, `${container.id} ${container.alive ? container.state : 'is dead'}`)
    if (container.alive && container.state === 'paused') this.#paused(host, container)
    if (!canWrite(container)) return
    const truth = this.oracle.of(container.mountedId ?? '')
    this.#beginsUnaware(host, truth)
    for (const machine of this.#world.machines()) {
      if (machine.host === host || !machine.on) continue
      const other = machine.containers.all.find((one) => one.mountedId === container.mountedId && canWrite(one))
      if (other === undefined || truth?.forks.has(host) || truth?.forks.has(machine.host)) continue
      this.failed(
        'promise 1',
        `${container.id} on ${host} and ${other.id} on ${machine.host} can both write ${container.volume}`,
      )
    }
  }

  /** A machine that was stopped does not know yet what was taken over. What starts on it counts as what ran on it. */
  #beginsUnaware(host: string, truth: VolumeTruth | undefined): void {
    const tree = truth === undefined ? undefined : this.#world.machine(host).disk.shelf(truth.record.id)?.tree
    if (truth === undefined || tree === undefined || !this.#world.machine(host).unaware) return
    if (truth.record.holder?.host !== host && !truth.forks.has(host)) truth.forks.set(host, tree)
  }

  write(host: string, container: Container): void {
    const truth = this.oracle.of(container.mountedId ?? '')
    if (truth === undefined) {
      this.failed('promise 10', `the record of ${container.volume} is gone`)
      return
    }
    const { record } = truth
    const isHolder = record.holder?.host === host && !truth.removed
    if (!isHolder && !truth.forks.has(host) && canWrite(container)) {
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
    truth.trees.set(tree.hash, tree)
    if (isHolder) truth.head = tree
    else if (truth.forks.has(host)) truth.forks.set(host, tree)
  }

  /** Docker has the reply to a Mount. */
  mounted(host: string, container: Container): void {
    this.totals.mounts++
    const { volume, mountedId } = container
    const truth = this.oracle.of(mountedId ?? '')
    const shelf = this.#world.machine(host).disk.shelf(mountedId ?? '')
    if (truth === undefined || shelf === undefined) {
      this.failed('promise 2', `${volume} was mounted on ${host} without a copy`)
      return
    }
    if (truth !== this.oracle.named(volume) || truth.isOver)
      this.failed('promise 7', `${mountedId} was mounted on ${host} for ${volume}, but it was removed`)
    if (this.oracle.standing(volume).length > 1) {
      this.#world.trace(host, `CHECKER: ${volume} was made anew and is used: nothing can be promised any more`)
      this.setBack = true
    }
    const { record } = truth
    // A holder that was cut off may carry on, also with another container.
    if (truth.forks.has(host)) return
    if (record.holder?.host !== host) {
      this.failed('promise 1', `${volume} was mounted on ${host}, but it is held by ${record.holder?.host ?? 'nobody'}`)
    }
    if (shelf.record.held === null)
      this.failed('promise 1', `${volume} was mounted on ${host} without a hold on its disk`)
    if (shelf.record.applying || shelf.journal !== null)
      this.failed('promise 4', `${volume} on ${host} was mounted half applied`)
    if (this.#mustBeGuarded(host, record) && this.#world.machine(host).plugin?.knows(record.id) !== true)
      this.failed('promise 1', `${volume} was mounted on ${host} before its watchdog knew of it`)
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

  // --- what disks and hosts do

  recordChanged(host: string, before: LocalCopy, after: LocalCopy): void {
    this.versions.changed(host, before, after)
    if (after.checkpoint !== null && after.checkpoint !== before.checkpoint)
      this.named(after.id, after.checkpoint, false, `the disk of ${host}`)
    if (after.epochSeen < before.epochSeen) {
      this.failed('promise 8', `the disk of ${host} forgot epoch ${before.epochSeen} of ${after.name}`)
    }
    const record = this.#world.hostile === null || this.setBack ? undefined : this.oracle.of(after.id)?.record
    if (record !== undefined && after.epochSeen > record.epoch)
      this.failed('promise 8', `the disk of ${host} noted epoch ${after.epochSeen} of ${after.name}, which never began`)
    if (record !== undefined && isLastSetAside(record, before, after))
      this.failed('promise 7', `${host} set the newest checkpoint of ${after.name} aside`)
    if (after.diverged.length < before.diverged.length) {
      this.failed('promise 7', `${host} forgot a diverged copy of ${after.name}`)
    }
  }

  /** A checkpoint is written down somewhere. */
  named(id: string, checkpoint: Pick<Checkpoint, 'epoch' | 'seq' | 'hash'>, isLine: boolean, where: string): void {
    const other = this.names.clash(id, checkpoint, isLine)
    if (other === null) return
    const { epoch, seq, hash } = checkpoint
    this.failed('promise 14', `${where} has ${hash} as checkpoint ${epoch}.${seq} of ${id}, which was ${other} before`)
  }

  /** A stopped machine runs again: its processes cannot know yet what was taken over meanwhile. */
  resumed(host: string): void {
    for (const truth of this.oracle.all.values()) {
      const tree = this.#world.machine(host).disk.shelf(truth.record.id)?.tree
      if (tree === undefined || truth.record.holder?.host === host) continue
      if (this.#writersOn(host, truth).length > 0 && !truth.forks.has(host)) truth.forks.set(host, tree)
    }
  }

  /** A host has renewed its lease. It knows now, and nothing may run there that others hold. */
  renewed(host: string): void {
    const machine = this.#world.machine(host)
    if (!machine.unaware) return
    machine.unaware = false
    for (const truth of this.oracle.all.values()) {
      if (truth.unguarded.has(host)) continue
      if (truth.record.holder?.host === host || this.#world.options.onIsolation === 'continue') continue
      for (const { id } of this.#writersOn(host, truth))
        this.failed('promise 6', `${host} renewed its lease while ${id} could write ${truth.name}, which others hold`)
      truth.endFork(host)
    }
  }

  #writersOn(host: string, { record }: VolumeTruth): readonly Container[] {
    return this.#world.machine(host).containers.all.filter((one) => one.mountedId === record.id && canWrite(one))
  }

  /** A host sent another one its tree. */
  served(host: string, request: TreeRequest): void {
    const seen = this.#world.machine(host).disk.shelf(request.volume)?.record.epochSeen ?? 0
    if (request.epoch < seen) {
      this.failed(
        'promise 8',
        `${host} has seen epoch ${seen} of ${request.volume} and served a request of epoch ${request.epoch}`,
      )
    }
  }

  /** A call of Docker or of an operator ended with an error. */
  refused(host: string, volume: string, error: unknown): void {
    const code = codeOf(error)
    if (code === 'VOLUME_NOT_FOUND' && !this.#mayBeMissing(volume))
      this.failed('promise 10', `${host} said that there is no such volume`)
    if (code === undefined || code === 'INTERNAL') {
      this.failed('bug', `${host} replied ${error instanceof Error ? error.stack : String(error)}`)
    }
  }

  /** Writes that were not durable at a power cut are gone, and no client was told otherwise. */
  powerCut(host: string): void {
    for (const truth of this.oracle.all.values()) {
      const tree = this.#world.machine(host).disk.shelf(truth.record.id)?.tree
      if (truth.record.holder?.host === host && tree?.isPrefixOf(truth.head)) truth.head = tree
    }
  }

  /** When the newest checkpoint of a volume was committed. */
  lastCheckpointMs(name: string): number {
    return this.oracle.named(name)?.lastChangedMs ?? 0
  }

  /** Whether the registry may say that there is no such volume. */
  /** A host wrote a record into a registry that it has never seen, over a volume of the one that it knows. */
  wroteForeign(volume: string, host: string): void {
    if (this.oracle.standing(volume).length > 0)
      this.failed('promise 10', `${host} took an empty registry for its own and made ${volume} there`)
  }

  #mayBeMissing(volume: string): boolean {
    if (this.#world.registry.isImpostor) return this.oracle.standing(volume).length === 0
    const record = this.#world.registry.record(volume)
    if (record === null || record.removedAt !== null) return true
    const madeMs = this.oracle.madeMs.get(volume) ?? Number.NEGATIVE_INFINITY
    return this.#world.timeline.nowMs - madeMs < STALE_MOST_MS
  }

  #paused(host: string, container: Container): void {
    const { options } = this.#world
    const fenced = this.#hasFence(host, container)
    if (fenced) this.#fenced(host, container)
    if (fenced && options.onIsolation === 'continue')
      this.failed('promise 6', `${container.id} on ${host} was fenced with on_isolation=continue`)
  }

  #fenced(host: string, container: Container): void {
    this.totals.fences++
    // A container of a volume that is held elsewhere has to be stopped, whatever the lease says.
    if (this.#recordOf(container)?.holder?.host !== host) return
    const why = this.liveness.whyNotToFence(host)
    if (why !== null) this.failed('promise 6', `${container.id} on ${host} was fenced although ${why}`)
  }

  /** Whether another host could take the volume over. */
  #mustBeGuarded(host: string, { copies }: VolumeRecord): boolean {
    const others = Object.entries(copies).filter(([other, { seq, state }]) => {
      return other !== host && seq > 0 && state !== 'diverged'
    })
    return this.#world.options.onIsolation === 'pause' && others.length > 0
  }

  #recordOf(container: Container): VolumeRecord | undefined {
    return this.oracle.of(container.mountedId ?? '')?.record
  }
}
