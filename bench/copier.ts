import { runPreCopyRounds } from '../agent/mobility/checkpoint/precopy.ts'
import type { Checkpoint, VolumeOptions } from '../agent/model/model.ts'
import { openMover } from '../agent/mover/mover.ts'
import { systemClock } from '../agent/runtime/clock.ts'
import type { Capture, SpoolRound, Store } from '../agent/store/contract.ts'
import { layoutOf } from '../agent/store/disk/layout.ts'
import type { Taken } from './order.ts'

export interface CopierOptions {
  readonly stateDir: string
  readonly address: string
  readonly port: number
}

/** What the agent copies with, put together as agent/main.ts does. The only file of the bench that knows it. */
export interface Copier extends AsyncDisposable {
  /** Makes an empty copy; returns where its tree is. */
  create(id: string, options: VolumeOptions): Promise<string>
  /** Looks at a tree at rest; of a held one that is what its release does. */
  capture(id: string): Promise<Capture>
  /** Stages the checkpoint with this hash from the other host; returns the bytes of content that came. */
  pull(id: string, from: { address: string; port: number }, hash: string): Promise<number>
  apply(id: string, checkpoint: Checkpoint): Promise<void>
  /**
   * From now on the copy is held: checkpoints are taken of it while programs may write, and others get them from its
   * spool.
   */
  hold(id: string): Promise<void>
  /** Takes a checkpoint of a held copy as the agent does, but that there are no containers to pause. */
  take(id: string, seq: number): Promise<Taken>
  /** Removes the copy. */
  drop(id: string): Promise<void>
}

const EPOCH = 1
/** WHERRY_PAUSE_BUDGET's default. */
const PAUSE_BUDGET_MS = 500

/** Opens the state directory and serves its trees to other hosts until disposed. */
export async function openCopier({ stateDir, address, port }: CopierOptions): Promise<Copier> {
  const tls = { dir: `${stateDir}/tls`, address }
  const mountRoot = `${stateDir}/mounts`
  const mover = await openMover({ stateDir, mountRoot, trashRetentionMs: 0, tls, logLevel: 'warn' })
  const { store, puller } = mover
  const { signal } = new AbortController()
  await store.recover()
  const answer = async () => null
  const choose = async ({ volume }: { volume: string }) => {
    const isHeld = ((await store.copy(volume))?.held ?? null) !== null
    return { id: volume, kind: isHeld ? 'spool' : 'last' } as const
  }
  await mover.serve({ host: address, port, choose, answer })
  return {
    async create(id, options) {
      await store.create({ id, name: id, options })
      return layoutOf(stateDir, id).data
    },
    async capture(id) {
      const found = await store.capture(id, 'quiet', signal)
      if ((await store.copy(id))?.held !== null) await store.update(id, { held: null })
      return found
    },
    async pull(id, from, hash) {
      const options = (await store.copy(id))?.options
      if (options === undefined) throw new Error(`there is no copy ${id}`)
      const request = { volume: id, epoch: EPOCH, want: { kind: 'checkpoint', hash } } as const
      const { bytes, complete } = await puller.pull(from, request, { id, name: id, options }, signal, () => {})
      if (!complete) throw new Error(`the source of ${id} changed`)
      return bytes
    },
    apply: (id, checkpoint) => store.apply(id, checkpoint),
    async hold(id) {
      await store.update(id, { held: { epoch: EPOCH, incarnation: 'bench' } })
    },
    take: (id, seq) => take(store, id, seq, signal),
    async drop(id) {
      await store.trash(id)
      await store.emptyTrash(systemClock.elapsedMs())
    },
    [Symbol.asyncDispose]: () => mover[Symbol.asyncDispose](),
  }
}

async function take(store: Store, id: string, seq: number, signal: AbortSignal): Promise<Taken> {
  const rounds: SpoolRound[] = []
  const startMs = performance.now()
  await runPreCopyRounds({ store, clock: systemClock }, id, PAUSE_BUDGET_MS, null, signal, (round) =>
    rounds.push(round),
  )
  const roundsMs = performance.now()
  await store.spoolFreeze(id, 'quiet', signal)
  const lastMs = performance.now()
  const last = await store.spoolLast(id, signal)
  const { hash, bytes, files } = last
  const checkpoint = { epoch: EPOCH, seq, hash, at: new Date().toISOString(), bytes, files }
  await store.spoolCommit(id, checkpoint)
  return {
    checkpoint,
    rounds,
    roundsSeconds: (roundsMs - startMs) / 1000,
    last,
    lastMs: lastMs - roundsMs,
    commitSeconds: (performance.now() - lastMs) / 1000,
  }
}
