import type { Checkpoint, VolumeOptions } from '../../agent/model.ts'
import { openMover } from '../../agent/mover/mover.ts'
import type { Capture } from '../../agent/store/contract.ts'
import { layoutOf } from '../../agent/store/layout.ts'

export interface CopierOptions {
  readonly stateDir: string
  readonly address: string
  readonly port: number
}

/** What the agent copies with, put together as agent/main.ts does. The only file of the bench that knows it. */
export interface Copier extends AsyncDisposable {
  /** Makes an empty copy; answers where its tree is. */
  create(id: string, options: VolumeOptions): Promise<string>
  capture(id: string): Promise<Capture>
  /** Stages the checkpoint with this hash from the other host; answers the bytes of content that came. */
  pull(id: string, from: { address: string; port: number }, hash: string): Promise<number>
  apply(id: string, checkpoint: Checkpoint): Promise<void>
  /** Removes the copy. */
  drop(id: string): Promise<void>
}

const EPOCH = 1

/** Opens the state directory and serves its trees to other hosts until disposed. */
export async function openCopier({ stateDir, address, port }: CopierOptions): Promise<Copier> {
  const tls = { dir: `${stateDir}/tls`, address }
  const mountRoot = `${stateDir}/mounts`
  const mover = await openMover({ stateDir, mountRoot, trashRetentionMs: 0, tls, logLevel: 'warn' })
  const { store, puller } = mover
  const { signal } = new AbortController()
  await store.recover()
  const answer = async () => null
  await mover.serve({ host: address, port, choose: async ({ volume }) => ({ id: volume, kind: 'last' }), answer })
  return {
    async create(id, options) {
      await store.create({ id, name: id, options })
      return layoutOf(stateDir, id).data
    },
    capture: (id) => store.capture(id, 'quiet', signal),
    async pull(id, from, hash) {
      const options = (await store.copy(id))?.options
      if (options === undefined) throw new Error(`there is no copy ${id}`)
      const request = { volume: id, epoch: EPOCH, want: { kind: 'checkpoint', hash } } as const
      const { bytes, complete } = await puller.pull(from, request, { id, name: id, options }, signal, () => {})
      if (!complete) throw new Error(`the source of ${id} changed`)
      return bytes
    },
    apply: (id, checkpoint) => store.apply(id, checkpoint),
    async drop(id) {
      await store.trash(id)
      await store.emptyTrash(new Date(Date.now() + 1_000))
    },
    [Symbol.asyncDispose]: () => mover[Symbol.asyncDispose](),
  }
}
