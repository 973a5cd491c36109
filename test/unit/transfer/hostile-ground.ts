import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { codeOf } from '../../../agent/model/errors.ts'
import type { Checkpoint } from '../../../agent/model/model.ts'
import type { Manifest } from '../../../agent/store/manifest/manifest.ts'
import { decodeManifest } from '../../../agent/store/manifest/parser.ts'
import { createPuller } from '../../../agent/transfer/receive/puller.ts'
import { serveTransfer } from '../../../agent/transfer/send/server.ts'
import { describeTree, differences } from '../store/comparer.ts'
import { calm, captureCheckpoint, deleteTree, move, newVolume, type StoreHost, storeHost } from '../store/fixture.ts'
import { type Act, bytesOf, hostileServer } from './hostile-server.ts'
import { certs, HOST, identityIn, neverAborted, recorder, transferDirectory } from './kit.ts'

const FILL = `
set -eu
mkdir sub sub/deep; for n in 1 2 3 4 5 6; do head -c $((n * 700)) /dev/urandom > sub/f$n; done
head -c 400000 /dev/urandom > large; ln sub/f1 linked; ln -s sub/f2 symlink; mkfifo pipe
`
const CHANGE = `
set -eu
for n in 2 4; do head -c $((n * 800)) /dev/urandom > sub/f$n; done
head -c 1000 /dev/urandom | dd of=large bs=1000 seek=200 conv=notrunc 2>/dev/null
mkdir fresh fresh/dir; head -c 300000 /dev/urandom > fresh/large
for n in 1 2 3; do head -c $((n * 900)) /dev/urandom > fresh/f$n; done; ln fresh/f1 fresh/dir/linked
rm linked pipe; mkdir linked; chmod 4711 sub/f5
`

/** One side of the seesaw: what an honest sender has. */
interface Version {
  readonly sender: StoreHost
  readonly data: string
  readonly manifest: Manifest
  readonly checkpoint: Checkpoint
}

/**
 * A receiver with a copy, another volume beside it, strangers' files around; two honest versions of the volume; a
 * hostile source.
 */
export async function hostileGround(t: ExecutionContext) {
  await using stack = new AsyncDisposableStack()
  const { dir } = stack.use(await transferDirectory())
  const { log } = recorder()
  const identity = stack.use(await identityIn(await certs(dir, HOST), log))
  const base = await mkdtemp(join(tmpdir(), 'wherry-hostile-'))
  t.teardown(() => deleteTree(base))
  writeFileSync(join(base, 'precious'), 'as it was')
  mkdirSync(join(base, 'beside'))
  const [v, neighbour] = [newVolume(), newVolume()]
  const [one, two, receiver] = [await storeHost(t), await storeHost(t), await storeHost(t, join(base, 'state'))]
  await one.store.create(v)
  await one.store.create(neighbour)
  writeFileSync(join(one.data(neighbour.id), 'file'), 'another volume')
  await move(one.store, receiver.store, neighbour)
  execFileSync('sh', ['-c', FILL], { cwd: one.data(v.id) })
  await move(one.store, receiver.store, v)
  await two.store.create(v)
  execFileSync('cp', ['-aT', one.data(v.id), two.data(v.id)])
  execFileSync('sh', ['-c', CHANGE], { cwd: two.data(v.id) })

  const version = async (sender: StoreHost, seq: number): Promise<Version> => {
    const at = captureCheckpoint(await sender.store.capture(v.id, 'quiet', calm), seq)
    await using reader = await sender.store.reader({ id: v.id, kind: 'last' })
    return { sender, data: sender.data(v.id), manifest: await decodeManifest(reader.manifest()), checkpoint: at }
  }
  const versions = [await version(one, 1), await version(two, 2)] as const
  const hostile = stack.use(await hostileServer(identity))
  const puller = createPuller({ identity, log })
  /** Which of the versions the receiver is at. */
  let at: 0 | 1 = 0
  const next = () => versions[at === 0 ? 1 : 0]

  const request = { volume: v.id, epoch: 1, want: { kind: 'live' } } as const
  const honest = stack.use(
    await serveTransfer({
      ...{ host: HOST, port: 0, identity, log },
      source: () => next().sender.store.reader({ id: v.id, kind: 'last' }),
    }),
  )
  const pull = async (from: { address: string; port: number }) => {
    await using writer = await receiver.store.writer(v)
    return await puller.pull(from, request, writer, neverAborted())
  }
  /** What the receiver's own look at its tree writes, and the stage, may change. */
  const own = new RegExp(`^"./state/volumes/${v.id}(/stage(/.*)?|/live\\.\\w+|/tick)?" `)
  const outside = () => describeTree(base).filter((line) => !own.test(line))

  /** Lets the hostile source play; answers how the pull ended. Nothing outside of the stage may have changed. */
  const suffer = async (act: Partial<Act> & Pick<Act, 'reader'>): Promise<string> => {
    const before = outside()
    hostile.play({ twist: (frame) => [bytesOf(frame)], asked: () => {}, ...act })
    const outcome = await pull(hostile.from).then(
      ({ complete, hash }) => (complete ? `complete ${hash}` : 'incomplete'),
      (error) => codeOf(error) ?? `uncoded: ${error}`,
    )
    const [was, is] = [new Set(before), new Set(outside())]
    t.deepEqual([...is.symmetricDifference(was)], [], outcome)
    return outcome
  }
  const content = (path: string) => {
    try {
      return readFileSync(join(next().data, path))
    } catch {
      return undefined
    }
  }
  /** Applies what is staged as the honest checkpoint, which it is or is refused: answers the code. */
  const apply = async (): Promise<string | null> => {
    try {
      await receiver.store.apply(v.id, next().checkpoint)
    } catch (error) {
      return codeOf(error) ?? String(error)
    }
    t.deepEqual(differences(next().data, receiver.data(v.id)), [])
    at = at === 0 ? 1 : 0
    return null
  }
  /** The next honest pull succeeds, whatever lies in the stage. */
  const succeed = async () => {
    const { complete } = await pull({ address: HOST, port: honest.port })
    t.true(complete)
    t.is(await apply(), null)
  }
  const all = stack.move()
  const stage = join(receiver.stateDir, 'volumes', v.id, 'stage')
  return {
    ...{ suffer, succeed, apply, next, content, stage, base, store: receiver.store, id: v.id },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  }
}
