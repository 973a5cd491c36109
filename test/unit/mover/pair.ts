import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { openMover } from '../../../agent/mover/mover.ts'
import {
  ADDRESS,
  checkpoint,
  directory,
  KIBIBYTE,
  moverCertificates,
  NO_REPLIES,
  noAbort,
  options,
  volume,
  writeNoise,
} from './kit.ts'

interface PairOptions {
  /** The receiver's state directory. */
  readonly stateDir: string
  /** The first checkpoint is one large file and twenty small ones. */
  readonly largeMebibytes: number
  readonly smallKibibytes: number
  /** Whose the sender's files are when they are captured; root's when left out. */
  readonly owner?: number
  /** What the sender sends at the most; all it can when left out. */
  readonly bandwidthBytesPerSecond?: number
}

/**
 * A sender, and a receiver whose state lies where it is said; both are at the first checkpoint, of which `old` is a
 * copy.
 */
export async function pair(t: ExecutionContext, given: PairOptions) {
  const { stateDir, largeMebibytes, smallKibibytes, owner, bandwidthBytesPerSecond = null } = given
  const base = await directory(t)
  const tls = await moverCertificates(t)
  const sending = { ...(await options(t, tls)), bandwidthBytesPerSecond }
  const sender = await openMover(sending)
  t.teardown(() => sender[Symbol.asyncDispose]())
  const receiver = await openMover({ ...(await options(t, tls)), stateDir, mountRoot: join(base, 'mounts') })
  t.teardown(() => receiver[Symbol.asyncDispose]())
  const v = volume()
  await sender.store.create(v)
  const choose = async () => ({ id: v.id, kind: 'last' }) as const
  const { port } = await sender.serve({ host: ADDRESS, port: 0, choose, answer: NO_REPLIES })
  const [data = '', tree = ''] = [sending.stateDir, stateDir].map((state) => join(state, 'volumes', v.id, 'data'))
  writeNoise(join(data, 'large'), largeMebibytes)
  mkdirSync(join(data, 'small'))
  for (let n = 0; n < 20; n += 1) writeFileSync(join(data, 'small', `f${n}`), randomBytes(smallKibibytes * KIBIBYTE))

  const capture = () => {
    if (owner !== undefined) execFileSync('chown', ['-R', String(owner), data])
    return sender.store.capture(v.id, 'quiet', noAbort())
  }
  const pull = (hash: string, onBytes: (bytes: number) => void = () => {}) => {
    const request = { volume: v.id, epoch: 1, want: { kind: 'checkpoint', hash } } as const
    return receiver.puller.pull({ address: ADDRESS, port }, request, v, noAbort(), ({ bytesDone }) =>
      onBytes(bytesDone),
    )
  }
  const first = await capture()
  await pull(first.hash)
  await receiver.store.apply(v.id, checkpoint(first))
  const old = join(base, 'old')
  execFileSync('cp', ['-a', data, old])
  return { receiver, v, data, tree, first, old, capture, pull }
}
