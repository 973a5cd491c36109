import type { Guard, GuardedVolume } from '../../fence/contract.ts'
import type { VolumeRecord } from '../../model/model.ts'
import type { LocalCopy } from '../../store/contract.ts'
import type { Dependencies } from '../dependencies.ts'
import type { GuardedVolumes, Lease } from '../host-contract.ts'
import { hasCopyElsewhere } from '../record/copies.ts'

/** What this host holds, by its disk (HeldCopies). */
interface HeldVolumes {
  list(): Promise<readonly Pick<LocalCopy, 'id' | 'name' | 'options' | 'held'>[]>
  readonly undescribed: ReadonlySet<string>
}

/** Tells the watchdog which volumes' containers must not run past the lease, and until when it runs. */
export class WatchdogVolumes implements GuardedVolumes {
  readonly #dependencies: Pick<Dependencies, 'watchdog' | 'alone' | 'log'>
  readonly #lease: Pick<Lease, 'untilMs'>
  readonly #held: HeldVolumes
  /** Epochs of the holds that the watchdog knows, by volume id. */
  #told: ReadonlyMap<string, number> = new Map()
  /**
   * Whether another host has a copy that could be taken over, by volume id.
   * `incarnation`: the hold under which that was learnt.
   */
  readonly #known = new Map<string, { readonly elsewhere: boolean; readonly incarnation: string | null }>()
  /** Ids of volumes without a readable record that were logged. */
  readonly #said = new Set<string>()

  constructor(
    dependencies: Pick<Dependencies, 'watchdog' | 'alone' | 'log'>,
    lease: Pick<Lease, 'untilMs'>,
    held: HeldVolumes,
  ) {
    this.#dependencies = dependencies
    this.#lease = lease
    this.#held = held
  }

  /**
   * Takes in which copies a record shows on other hosts.
   * The read may be older than the write of the first copy, so a volume that is guarded stays so until its next hold.
   */
  learn(record: VolumeRecord, self: string): void {
    const known = this.#known.get(record.id)
    const incarnation = record.holder?.incarnation ?? null
    const stays = known?.elsewhere === true && (known.incarnation === null || known.incarnation === incarnation)
    this.#known.set(record.id, { elsewhere: stays || hasCopyElsewhere(record, self), incarnation })
  }

  /**
   * Resolves once the watchdog knows that another host is about to have a copy of the volume.
   * Call it before the write that makes it so.
   */
  async expect(id: string): Promise<void> {
    // The next hold is guarded too: its record may not show yet what the other host has.
    this.#known.set(id, { elsewhere: true, incarnation: null })
    if (!this.#told.has(id)) await this.tell()
  }

  /**
   * Resolves once the watchdog knows of a hold that it has to guard.
   * Call it before a container can write.
   */
  async ensure(copy: Pick<LocalCopy, 'id' | 'options' | 'held'>): Promise<void> {
    if (this.isGuarded(copy) && this.#told.get(copy.id) !== copy.held?.epoch) await this.tell()
  }

  /** Whether the volume's containers here may run only while the lease does. Unknown counts as yes. */
  isGuarded(copy: Pick<LocalCopy, 'id' | 'options'>): boolean {
    return (
      !this.#dependencies.alone && copy.options.onIsolation === 'pause' && this.#known.get(copy.id)?.elsewhere !== false
    )
  }

  /** Whether the watchdog was told to guard this hold. It goes on unless a record of this hold names no other copy. */
  guards(copy: Pick<LocalCopy, 'id' | 'options' | 'held'>): boolean {
    return copy.held !== null && this.isGuarded(copy) && this.#told.get(copy.id) === copy.held.epoch
  }

  /**
   * Tells the watchdog what is held and until when the lease runs.
   * Call it after each renewal, and after the disk shows another hold. Before the lease first ran, the watchdog keeps
   * what an earlier agent told it.
   */
  async tell(): Promise<void> {
    if (this.#lease.untilMs === Number.NEGATIVE_INFINITY) return
    const guard = await this.guard()
    this.#told = new Map(guard.volumes.map(({ id, epoch }) => [id, epoch]))
    this.#dependencies.watchdog.guard(guard)
  }

  /** The same in the background. Never fails: what the watchdog was told before has an end of its own. */
  tellSoon(): void {
    this.tell().catch((err: unknown) => this.#dependencies.log.error({ err }, 'watchdog not updated'))
  }

  /**
   * Returns what the watchdog has to guard now.
   * A volume that it guarded before this agent started stays guarded while its record cannot be read here: nobody has
   * said that it is no longer held.
   */
  async guard(): Promise<Guard> {
    const inherited = await this.#dependencies.watchdog.inherited()
    const volumes = (await this.#held.list()).flatMap((copy) => {
      if (copy.held === null || !this.isGuarded(copy)) return []
      return [{ id: copy.id, name: copy.name, epoch: copy.held.epoch }]
    })
    const kept = inherited.volumes.filter(({ id }) => this.#held.undescribed.has(id))
    this.#sayKept(kept)
    return { untilMs: this.#lease.untilMs, volumes: [...volumes, ...kept] }
  }

  #sayKept(kept: readonly GuardedVolume[]): void {
    for (const { id, name } of kept) {
      if (this.#said.has(id)) continue
      this.#said.add(id)
      this.#dependencies.log.error(
        { volume: name, id },
        'record of a held volume unreadable: its containers stay paused once the lease ends',
      )
    }
  }
}
