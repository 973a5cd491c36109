import { codeOf, WherryError } from '../../agent/model/errors.ts'
import type { Checkpoint, VolumeRecord } from '../../agent/model/model.ts'
import type { LocalCopy } from '../../agent/store/contract.ts'
import type { TreeRequest } from '../../agent/transfer/contract.ts'
import { Commits } from './commits.ts'
import { type Container, canWrite } from './containers.ts'
import { Vigil } from './liveness-checker.ts'
import { Names } from './names.ts'
import { Truths, type VolumeTruth } from './oracle.ts'
import { EMPTY, type Tree } from './tree.ts'
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
  /** Copies that were taken off their record. */
  dropped: number
  /** Volumes that were removed. */
  removed: number
  /** Removals that did without the volume's holder. */
  givenUp: number
}

/** A host that knows better than the registry goes by what it knows. */
const KEPT_WHEN_SET_BACK = ['promise 8', 'bug']
/** So long an old leader may answer with what was before a volume was made. */
const STALE_MOST_MS = 30_000

/** A host that can renew its lease has done so by then, and told its watchdog. */
const LEASED_AFTER_MS = 5_000
/** Timers, and clocks that differ. */
const FREEZE_SLACK_MS = 100
/** A plugin that was killed is started again, and asks its engine what is paused. */
const PLUGIN_BACK_MS = 5_000
/** An engine under load answers a pause this late. */
const PAUSE_ANSWER_MS = 3_000

/** One freeze of one run of a container. */
interface Frozen {
  readonly run: number
  readonly freeze: number
  /** By its machine's own time: while that stands still nobody can let anything go on, and nobody waits for it. */
  readonly ranMs: number
}

/** Looks at everything from outside and knows nothing of how the decisions are made: only what must never be seen. */
export class Checker {
  readonly failures: Failure[] = []
  readonly totals: Totals = {
    mounts: 0,
    seizures: 0,
    fences: 0,
    writes: 0,
    lost: 0,
    checkpoints: 0,
    dropped: 0,
    removed: 0,
    givenUp: 0,
  }
  readonly #frozen = new WeakMap<Container, Frozen>()
  #freezes = 0
  /** Only planned moves and restarts: nothing may be lost. */
  planned = false
  /** The registry has lost changes, or a person has made a volume anew over its data: what rests on the registry alone cannot be promised any more. */
  setBack = false
  /** It came back empty, and was or will be rebuilt by the disks. */
  wiped = false
  readonly vigil: Vigil
  readonly truths = new Truths()
  readonly names = new Names()
  readonly commits: Commits
  readonly #world: World
  #numbers = 0

  constructor(world: World) {
    this.#world = world
    this.vigil = new Vigil(world)
    this.commits = new Commits(world, this)
  }

  failed(rule: string, text: string): void {
    if (this.setBack && !KEPT_WHEN_SET_BACK.includes(rule)) return
    const atMs = this.#world.timeline.nowMs
    this.failures.push({ atMs, rule, text })
    this.#world.trace('CHECKER', `${rule}: ${text}`)
  }

  /** Whether a paused container is one of a fence, or of a volume that has gone on elsewhere. */
  isFenced(host: string, container: Container): boolean {
    return this.#hasFence(host, container) || this.#recordOf(container)?.holder?.host !== host
  }

  /** Whether somebody may let a container go on that a person has paused: its host has its lease, as far as anybody can tell. */
  mayResume(host: string, container: Container): boolean {
    const { registry } = this.#world
    const leased = registry.host(host)?.expiredBy === null && this.vigil.wellForMs(host) > LEASED_AFTER_MS
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
    const truth = this.truths.of(container.mountedId ?? '')
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

  /** Wherry has frozen a container for a checkpoint, or let it go on. */
  froze(host: string, container: Container): void {
    const { options, settings, timeline } = this.#world
    const { ranMs } = this.#world.machine(host).clocks
    if (!container.frozen) {
      if (container.pausedByOtherMs !== null && container.state === 'paused')
        this.failed('promise 13', `${container.id} on ${host}, which a person has paused, was thawed`)
      return
    }
    if (options.consistency === 'live')
      this.failed('promise 13', `${container.id} on ${host} was frozen for a checkpoint with consistency=live`)
    const since = { run: container.run, freeze: ++this.#freezes, ranMs }
    this.#frozen.set(container, since)
    timeline.after(settings.pauseBudgetMs + FREEZE_SLACK_MS, () => this.#requireThawed(host, container, since))
  }

  /** Nobody but Docker's own pauses may keep a container still for longer than the budget, or until a plugin that was killed is back. */
  #requireThawed(host: string, container: Container, since: Frozen): void {
    const now = this.#frozen.get(container)
    const isFrozen = container.run === since.run && now?.freeze === since.freeze && container.frozen
    if (!isFrozen || container.state === 'paused') return
    const { clocks, killedRanMs, still } = this.#world.machine(host)
    const { settings, timeline } = this.#world
    const lateMs = clocks.ranMs - since.ranMs - settings.pauseBudgetMs - FREEZE_SLACK_MS
    const isRestarting = clocks.ranMs - killedRanMs < PLUGIN_BACK_MS && lateMs < PLUGIN_BACK_MS
    if (lateMs > -1 && !isRestarting)
      this.failed('promise 13', `${container.id} on ${host} is frozen for longer than the budget`)
    else {
      const againMs = still || lateMs > -1 ? FREEZE_SLACK_MS : -lateMs
      timeline.after(againMs, () => this.#requireThawed(host, container, since))
    }
  }

  /** runc has looked at a container's freezer, to run a command or to pause: it refuses when Docker's state is another than the freezer's. */
  looked(host: string, container: Container): void {
    const { freezers, clocks, killedRanMs } = this.#world.machine(host)
    // Between the death of a plugin and the start of the next one nobody is there to thaw.
    if (freezers.looksFrozen(container.id) && clocks.ranMs - killedRanMs > PLUGIN_BACK_MS)
      this.failed('promise 13', `a command in ${container.id} on ${host}, or its pause, was refused: frozen`)
  }

  /** Wherry lets a container go on. */
  released(host: string, container: Container): void {
    const { pausedByOtherMs, pausedByOtherNoted } = container
    // Known: a watchdog that dies between its note of a fence and the engine's answer leaves a note of a pause that was not its own, and the engine does not tell whose it is.
    if (container.state !== 'paused' || pausedByOtherMs === null || pausedByOtherNoted) return
    const leftMs = this.#world.machine(host).killedMs - pausedByOtherMs
    if (leftMs < 0 || leftMs > PAUSE_ANSWER_MS)
      this.failed('promise 11', `${container.id} on ${host}, which a person has paused, was let go on`)
  }

  /** What starts on a machine that stood still, before that knows what was taken over meanwhile, is as what ran on it. */
  #beginsUnaware(host: string, truth: VolumeTruth | undefined): void {
    const tree = truth === undefined ? undefined : this.#world.machine(host).disk.shelf(truth.record.id)?.tree
    if (truth === undefined || tree === undefined || !this.#world.machine(host).unaware) return
    if (truth.record.holder?.host !== host && !truth.forks.has(host)) truth.forks.set(host, tree)
  }

  write(host: string, container: Container): void {
    const truth = this.truths.of(container.mountedId ?? '')
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

  /** Docker has a Mount's answer. */
  mounted(host: string, container: Container): void {
    this.totals.mounts++
    const { volume, mountedId } = container
    const truth = this.truths.of(mountedId ?? '')
    const shelf = this.#world.machine(host).disk.shelf(mountedId ?? '')
    if (truth === undefined || shelf === undefined) {
      this.failed('promise 2', `${volume} was mounted on ${host} without a copy`)
      return
    }
    if (truth !== this.truths.named(volume) || truth.isOver)
      this.failed('promise 7', `${mountedId} was mounted on ${host} for ${volume}, but it was removed`)
    if (this.truths.standing(volume).length > 1) {
      this.#world.trace(host, `CHECKER: ${volume} was made anew and is used: nothing is promised any more`)
      this.setBack = true
    }
    const { record } = truth
    // A holder that was cut off goes on, also with another container.
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

  replaced(host: string, id: string, before: Tree, after: Tree | null): void {
    const truth = this.truths.of(id)
    if (truth === undefined) return
    // What a person has removed goes into the trash as it is.
    if (after === null && truth.isOver) {
      this.totals.removed++
      if (truth.givenUp?.host === host && truth.removed)
        this.failed('promise 7', `what ${host} had of ${truth.name}, which was given up with it, went to the trash`)
      return
    }
    const { name } = truth
    const { disk } = this.#world.machine(host)
    if (after === null && (disk.shelf(id)?.diverged.size ?? 0) > 0) {
      this.failed('promise 7', `a diverged copy of ${name} on ${host} went to the trash`)
    }
    if (before.length === 0) return
    const known =
      (after !== null && before.isPrefixOf(after)) || truth.committed.some((tree) => before.isPrefixOf(tree))
    if (!known)
      this.failed(
        'promise 7',
        `${before} of ${name} on ${host}, which the cluster never got, fell to ${after ?? 'the trash'}`,
      )
    const last = truth.committed[0]
    // Of a removed volume the others may have put theirs away already.
    if (last === undefined || truth.isOver || (after !== null && last.isPrefixOf(after))) return
    const others = this.#world.machines().some((machine) => {
      const shelf = machine.host === host ? undefined : machine.disk.shelf(id)
      return (
        shelf !== undefined &&
        (last.isPrefixOf(shelf.tree) || (shelf.journal !== null && last.isPrefixOf(shelf.journal.target)))
      )
    })
    if (!others)
      this.failed('promise 7', `the last copy of ${name} at ${last} fell to ${after ?? 'the trash'} on ${host}`)
  }

  recordChanged(host: string, before: LocalCopy, after: LocalCopy): void {
    if (after.checkpoint !== null && after.checkpoint !== before.checkpoint)
      this.named(after.id, after.checkpoint, false, `the disk of ${host}`)
    if (after.epochSeen < before.epochSeen) {
      this.failed('promise 8', `the disk of ${host} forgot epoch ${before.epochSeen} of ${after.name}`)
    }
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

  /** A machine that stood still goes on: what runs on it cannot know yet what was taken over meanwhile. */
  goesOn(host: string): void {
    for (const truth of this.truths.all.values()) {
      const tree = this.#world.machine(host).disk.shelf(truth.record.id)?.tree
      if (tree === undefined || truth.record.holder?.host === host) continue
      if (this.#writersOn(host, truth).length > 0 && !truth.forks.has(host)) truth.forks.set(host, tree)
    }
  }

  /** A host has renewed its lease: from now on it knows, and nothing may run there any more that others hold. */
  renewed(host: string): void {
    const machine = this.#world.machine(host)
    if (!machine.unaware) return
    machine.unaware = false
    for (const truth of this.truths.all.values()) {
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

  /** A call of Docker's, or of a person, ended with an error. */
  answered(host: string, volume: string, error: unknown): void {
    const code = codeOf(error)
    if (code === 'VOLUME_NOT_FOUND' && !this.#mayBeMissing(volume))
      this.failed('promise 10', `${host} said that there is no such volume`)
    if (code === undefined || code === 'INTERNAL') {
      this.failed('bug', `${host} answered ${error instanceof Error ? error.stack : String(error)}`)
    }
  }

  /** What was written but was not safe when the power went is gone, and nobody was told otherwise. */
  powerCut(host: string): void {
    for (const truth of this.truths.all.values()) {
      const tree = this.#world.machine(host).disk.shelf(truth.record.id)?.tree
      if (truth.record.holder?.host === host && tree?.isPrefixOf(truth.head)) truth.head = tree
    }
  }

  /** Nothing that was given up may be gone: it lies on its disk, or has become part of the line after all. */
  finish(): void {
    for (const [id, truth] of this.truths.all) {
      this.#requireSetAside(id, truth)
      if (truth.isOver) continue
      for (const host of [...truth.forks.keys()]) truth.endFork(host)
      for (const { host, tree } of truth.abandoned) this.#requireKept(id, truth, host, tree.ackedPart())
    }
  }

  /** When the newest checkpoint of a volume was committed. */
  lastCheckpointMs(name: string): number {
    return this.truths.named(name)?.lastChangedMs ?? 0
  }

  /** Whether the registry may rightly say that there is no such volume. */
  #mayBeMissing(volume: string): boolean {
    const record = this.#world.registry.record(volume)
    if (record === null || record.removedAt !== null) return true
    const madeMs = this.truths.madeMs.get(volume) ?? Number.NEGATIVE_INFINITY
    return this.#world.timeline.nowMs - madeMs < STALE_MOST_MS
  }

  #requireKept(id: string, { name, head }: VolumeTruth, host: string | null, kept: Tree): void {
    if (kept.isPrefixOf(head)) return
    const disks = this.#world.machines().filter((machine) => host === null || machine.host === host)
    const trees = disks.flatMap(({ disk }) => [disk.shelf(id)?.tree, ...(disk.shelf(id)?.diverged.values() ?? [])])
    if (trees.some((one) => one !== undefined && kept.isPrefixOf(one))) return
    this.failed('promise 7', `${kept} of ${name}, given up by a seizure, are not on ${host ?? 'any host'} any more`)
  }

  #requireSetAside(id: string, { name, givenUp }: VolumeTruth): void {
    if (givenUp === null) return
    const kept = givenUp.tree.ackedPart()
    const found = this.#world.machine(givenUp.host).disk.aside.find((one) => one.id === id)
    const trees = found === undefined ? [] : [found.tree, ...found.diverged.values()]
    if (kept.length > 0 && !trees.some((tree) => kept.isPrefixOf(tree)))
      this.failed('promise 7', `${kept} of ${name}, given up with ${givenUp.host}, are not set aside there`)
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
    // A container of a volume that has moved on is to be stopped, whatever the lease says.
    if (this.#recordOf(container)?.holder?.host !== host) return
    const why = this.vigil.whyNotToFence(host)
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
    return this.truths.of(container.mountedId ?? '')?.record
  }
}

/** Whether an error in a log is a programming error: those of ours have a code, and waits that ended say so. */
export function isBug(error: unknown): boolean {
  if (!(error instanceof Error) || error instanceof WherryError) return false
  // What a disk that became read-only answers is no error of the program.
  if ((error as NodeJS.ErrnoException).code === 'EROFS') return false
  return error.name !== 'AbortError'
}
