import test from 'ava'
import fc from 'fast-check'
import { BufferPool } from '../../../agent/runtime/buffer-pool.ts'
import { DATA_MAX_BYTES } from '../../../agent/transfer/wire/frame.ts'
import { FrameBatch, type Loose, splitBatch } from '../../../agent/transfer/wire/frame-batch.ts'
import { encodeFlag, encodeOffset } from '../../../agent/transfer/wire/request-codec.ts'

const piece = (bytes: number, fill = 1): Loose => ({
  type: 'piece',
  head: encodeOffset(fill),
  body: Buffer.alloc(bytes, fill),
})
const runEnd: Loose = { type: 'runEnd', head: encodeFlag(false) }

/** What a sender makes of frames: bundles, and what goes by itself. */
function sent(frames: readonly Loose[]): Loose[] {
  const bundle = new FrameBatch()
  const out: Loose[] = []
  const flush = () => {
    const gathered = bundle.take()
    if (gathered !== null) out.push(gathered)
  }
  for (const frame of frames) {
    if (bundle.add(frame)) continue
    flush()
    if (!bundle.add(frame)) out.push(frame)
  }
  flush()
  return out
}

const plain = ({ type, head, body }: Loose) => [type, head?.toString('hex') ?? '', body?.toString('hex') ?? '']

test('what is bundled comes out as it was, in order, and no frame is too long', (t) => {
  const one = fc.oneof(
    fc.tuple(fc.integer({ min: 1, max: 40_000 }), fc.nat(200)).map(([bytes, fill]) => piece(bytes, fill)),
    fc.constant(runEnd),
  )
  let bundles = 0
  fc.assert(
    fc.property(fc.array(one, { maxLength: 120 }), (frames) => {
      const out = sent(frames)
      for (const { body } of out) t.true((body?.length ?? 0) <= DATA_MAX_BYTES)
      bundles += out.filter(({ type }) => type === 'bundle').length
      const got = out.flatMap((frame) =>
        frame.type === 'bundle' ? splitBatch(frame.body ?? Buffer.alloc(0), new BufferPool()) : [frame],
      )
      t.deepEqual(got.map(plain), frames.map(plain))
    }),
    { numRuns: 100, seed: 5 },
  )
  t.true(bundles > 50, `${bundles} bundles`)
})

test('one frame needs no bundle, large ones and others never go into one', (t) => {
  t.deepEqual(sent([]), [])
  t.deepEqual(sent([runEnd]), [runEnd])
  t.deepEqual(
    sent([piece(100_000), runEnd, piece(10), runEnd, { type: 'end' }]).map(({ type }) => type),
    ['piece', 'bundle', 'end'],
  )
})

test('what comes out has memory of its own', (t) => {
  const [bundled] = sent([piece(10, 1), piece(10, 2)])
  const frames = splitBatch(bundled?.body ?? Buffer.alloc(0), new BufferPool())
  t.is(new Set(frames.map(({ body }) => body.buffer)).size, 2)
  t.true(frames.every(({ body }) => body.buffer.byteLength === 10))
})
