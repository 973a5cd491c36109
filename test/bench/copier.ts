import { pino } from 'pino'
import type { Checkpoint, VolumeOptions } from '../../agent/model.ts'
import type { Capture } from '../../agent/store/contract.ts'
import { layoutOf } from '../../agent/store/layout.ts'
import { openStore } from '../../agent/store/store.ts'
import { openIdentity } from '../../agent/tls.ts'
import { createPuller } from '../../agent/transfer/puller.ts'
import { serveTransfer } from '../../agent/transfer/server.ts'

export interface CopierOptions {
  readonly stateDir: string
  readonly address: string
  readonly port: number
}

/** The parts of the agent that copy, put together as agent/main.ts does. The only file of the bench that knows them. */
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
  await using stack = new AsyncDisposableStack()
  const log = pino({ level: 'warn' }, process.stderr)
  const signal = new AbortController().signal
  const identity = stack.use(await openIdentity({ dir: `${stateDir}/tls`, address, log }))
  const store = stack.use(await openStore({ stateDir, mountRoot: `${stateDir}/mounts`, trashRetentionMs: 0, log }))
  await store.recover()
  const puller = createPuller({ identity, log })
  const source = (request: { volume: string }) => store.reader(request.volume, 'last')
  stack.use(await serveTransfer({ host: address, port, identity, source, log }))
  const kept = stack.move()
  return {
    async create(id, options) {
      await store.create({ id, name: id, options })
      return layoutOf(stateDir, id).data
    },
    capture: (id) => store.capture(id, 'quiet', signal),
    async pull(id, from, hash) {
      const copy = await store.copy(id)
      const options = copy?.options ?? { uid: 0, gid: 0, mode: 0o755 }
      await using writer = await store.writer({ id, name: id, options })
      const request = { volume: id, epoch: EPOCH, want: { kind: 'checkpoint', hash } } as const
      const { bytes, complete } = await puller.pull(from, request, writer, signal)
      if (!complete) throw new Error(`the source of ${id} changed`)
      return bytes
    },
    apply: (id, checkpoint) => store.apply(id, checkpoint),
    async drop(id) {
      await store.trash(id)
      await store.emptyTrash(new Date(Date.now() + 1_000))
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  }
}
