// Run as a child process: a host's store and transfer, as the agent puts them together. The parent calls over IPC.
import { codeOf } from '../../../agent/model/errors.ts'
import { openMover } from '../../../agent/mover/mover.ts'
import type { SnapshotRef, StageProgress } from '../../../agent/store/tree-contract.ts'
import type { HostCall, HostReply, Pulled } from './host-process.ts'
import { ADDRESS, NO_REPLIES, noAbort } from './kit.ts'

const [stateDir = '', tlsDir = ''] = process.argv.slice(2)
const options = { stateDir, mountRoot: `${stateDir}/mnt`, trashRetentionMs: 0, logLevel: 'silent' }
const entry = new URL('./crashing-thread.ts', import.meta.url)
const mover = await openMover({ ...options, tls: { dir: tlsDir, address: ADDRESS } }, entry)

async function answer(call: HostCall): Promise<unknown> {
  const { store, puller } = mover
  if (call.name === 'recover') return store.recover()
  if (call.name === 'create') return store.create(call.volume)
  if (call.name === 'copy') return store.copy(call.id)
  if (call.name === 'capture') return store.capture(call.id, call.kind, noAbort())
  if (call.name === 'apply') return store.apply(call.id, call.checkpoint)
  if (call.name === 'serve') {
    const choose = async ({ volume, want }: { volume: string; want: { kind: string } }): Promise<SnapshotRef> => {
      return { id: volume, kind: want.kind === 'live' ? 'live' : 'last' }
    }
    return (await mover.serve({ host: ADDRESS, port: 0, choose, answer: NO_REPLIES })).port
  }
  let progress: StageProgress | null = null
  const note = (now: StageProgress) => {
    progress = now
  }
  const request = { volume: call.volume.id, epoch: 1, want: call.want }
  const pulling = puller.pull({ address: ADDRESS, port: call.port }, request, call.volume, noAbort(), note)
  // How far a pull came counts also when it failed.
  const ended = await pulling.catch((error: unknown) => ({ code: codeOf(error), message: String(error) }))
  return { ...ended, progress } satisfies Pulled
}

const tell = (reply: HostReply) => process.send?.(reply)
process.on('disconnect', () => process.exit())
process.on('message', (message: { nth: number; call: HostCall }) => {
  const { nth, call } = message
  answer(call).then(
    (result) => tell({ nth, result }),
    (error: unknown) => tell({ nth, error: `${codeOf(error)}: ${error}` }),
  )
})
tell({ nth: 0 })
