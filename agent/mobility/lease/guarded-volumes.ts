import type { Guard, GuardedVolume } from '../../fence/contract.ts'
import type { VolumeRecord } from '../../model/model.ts'
import type { LocalCopy } from '../../store/contract.ts'
import type { Dependencies } from '../dependencies.ts'
import type { GuardedVolumes } from '../host-contract.ts'
import { hasCopyElsewhere } from '../record/copies.ts'
import type { HeldCopies } from './held-copies.ts'
import type { HeartbeatLease } from './lease.ts'

/** Tells the watchdog which volumes' containers must not run past the lease, and until when it runs. */
export class WatchdogVolumes implements GuardedVolumes {
  readonly #dependencies: Pick<Dependencies, 'watchdog' | 'alone' | 'log'>
  readonly #lease: HeartbeatLease
  readonly #held: HeldCopies
  /** Epochs of the holds that the watchdog was last told of, by volume id. */
  #told: ReadonlyMap<string, number> = new Map()
  /** By volume id: whether another host has a copy that could be gone on from, and under which hold that was learnt. */
  readonly #known = new Map<string, { readonly elsewhere: boolean; readonly incarnation: string | null }>()
  /** Volumes without a readable record that were complained of, by id. */
  readonly #said = new Set<string>()

  constructor(dependencies: Dependencies, lease: HeartbeatLease, held: HeldCopies) {
    this.#dependencies = dependencies
    this.#lease = lease
    this.#held = held
  }

  /**
   * Takes in what a record says of copies elsewhere. It may have been read before the write that made the first copy: what is guarded once stays
   * so until the next hold.
   */
  learn(record: VolumeRecord, self: string): void {
    const known = this.#known.get(record.id)
    const incarnation = record.holder?.incarnation ?? null
    const stays = known?.elsewhere === true && (known.incarnation === null || known.incarnation === incarnation)
    this.#known.set(record.id, { elsewhere: stays || hasCopyElsewhere(record, self), incarnation })
  }

  /** Another host is about to have a copy of the volume. The watchdog hears of it before this resolves: call it before the write that makes it so. */
  async expect(id: string): Promise<void> {
    // Also by the next hold that is heard of: its record may not say yet what the other host has.
    this.#known.set(id, { elsewhere: true, incarnation: null })
    if (!this.#told.has(id)) await this.tell()
  }

  /** On return the watchdog knows of a hold, if it has to. Call it before a container can write to the volume. */
  async ensure(copy: Pick<LocalCopy, 'id' | 'options' | 'held'>): Promise<void> {
    if (this.isGuarded(copy) && this.#told.get(copy.id) !== copy.held?.epoch) await this.tell()
  }

  /** Whether the volume's containers here may run only while the lease does. What is not known yet is taken for yes. */
  isGuarded(copy: Pick<LocalCopy, 'id' | 'options'>): boolean {
    return (
      !this.#dependencies.alone && copy.options.onIsolation === 'pause' && this.#known.get(copy.id)?.elsewhere !== false
    )
  }

  /**
   * After each renewal, and whenever what is held has changed, on the disk by then. Before the lease first ran the
   * watchdog's older word stands.
   */
  async tell(): Promise<void> {
    if (this.#lease.untilMs === Number.NEGATIVE_INFINITY) return
    const guard = await this.guard()
    this.#told = new Map(guard.volumes.map(({ id, epoch }) => [id, epoch]))
    this.#dependencies.watchdog.guard(guard)
  }

  /** The same where nobody waits for it; never fails: the older word stands, which has an end of its own. */
  tellSoon(): void {
    this.tell().catch((err: unknown) =>
      this.#dependencies.log.error({ err }, 'the watchdog could not be told what is held'),
    )
  }

  /**
   * What the watchdog is to be told now. A volume that it guarded before this agent, and whose record cannot be read
   * here, stays guarded: nobody has said that it is not held any more.
   */
  async guard(): Promise<Guard> {
    const inherited = await this.#dependencies.watchdog.inherited()
    const volumes = (await this.#held.list()).flatMap((copy) => {
      if (copy.held === null || !this.isGuarded(copy)) return []
      return [{ id: copy.id, name: copy.name, epoch: copy.held.epoch }]
    })
    const kept = inherited.filter(({ id }) => this.#held.undescribed.has(id))
    this.#sayKept(kept)
    return { untilMs: this.#lease.untilMs, volumes: [...volumes, ...kept] }
  }

  #sayKept(kept: readonly GuardedVolume[]): void {
    for (const { id, name } of kept) {
      if (this.#said.has(id)) continue
      this.#said.add(id)
      this.#dependencies.log.error(
        { volume: name, id },
        'the record of a volume in use here cannot be read: its containers are paused when the lease ends, and stay so until it can',
      )
    }
  }
}
