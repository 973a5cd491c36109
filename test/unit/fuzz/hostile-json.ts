import type { ExecutionContext } from 'ava'
import fc from 'fast-check'

/** FUZZ_TIMES=100 runs a hundred times as many cases, for an hour of searching. */
const TIMES = Number(process.env.FUZZ_TIMES ?? 1)

/** How many cases a fuzzer runs, and from which seed: the same ones each time unless FUZZ_SEED says otherwise. */
export function cases(count: number): { numRuns: number; seed: number } {
  return { numRuns: count * TIMES, seed: Number(process.env.FUZZ_SEED ?? 1) }
}

/** Values that a decoder may not expect in any place. */
const odd: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom<unknown>(null, true, '', '\0', '../../etc', '__proto__', 'constructor', 'x'.repeat(70_000)),
  fc.constantFrom<unknown>(-1, 0, 0.5, 2 ** 31, 2 ** 53, -(2 ** 63), 1e308, [], {}, [[]], { length: 3 }),
  fc.jsonValue({ maxDepth: 3 }),
  fc.constant(Array.from({ length: 2_000 }, (_, n) => `entry ${n}`)),
)

type Edit = (parent: Record<string, unknown>, key: string) => void

const edit: fc.Arbitrary<Edit> = fc.oneof(
  odd.map(
    (value): Edit =>
      (parent, key) =>
        put(parent, key, value),
  ),
  fc.constant<Edit>((parent, key) => void delete parent[key]),
  fc.tuple(fc.constantFrom('__proto__', 'constructor', 'toString', 'hasOwnProperty', 'newer', ''), odd).map(
    ([name, value]): Edit =>
      (parent) =>
        put(parent, name, value),
  ),
  fc.constant<Edit>((parent, key) => put(parent, key, [parent[key], parent[key]])),
)

/** As JSON.parse does it: `__proto__` becomes a property like any other. The value is copied. */
function put(parent: Record<string, unknown>, key: string, from: unknown): void {
  const value = structuredClone(from)
  Object.defineProperty(parent, key, { value, enumerable: true, configurable: true, writable: true })
}

/** All places of a JSON value: objects and arrays with each of their keys. */
function places(value: unknown): [Record<string, unknown>, string][] {
  if (typeof value !== 'object' || value === null) return []
  const own = value as Record<string, unknown>
  return Object.keys(own).flatMap((key) => [[own, key] as [Record<string, unknown>, string], ...places(own[key])])
}

/** JSON values that are nearly one of `samples`: one to three places were changed, removed, doubled or added. */
export function nearly(samples: readonly unknown[]): fc.Arbitrary<unknown> {
  const edits = fc.array(fc.tuple(fc.nat(), edit), { minLength: 1, maxLength: 3 })
  return fc.tuple(fc.constantFrom(...samples), edits).map(([sample, list]) => {
    const root = { value: structuredClone(sample) as unknown }
    for (const [nth, change] of list) {
      const all = places(root)
      const [parent, key] = all[nth % all.length] ?? [root, 'value']
      change(parent, key)
    }
    return root.value
  })
}

/** Texts that are nearly the JSON of one of `samples`: changed as a value, cut off, or with a byte that is wrong. */
export function nearlyText(samples: readonly unknown[]): fc.Arbitrary<string> {
  const text = nearly(samples).map((value) => JSON.stringify(value) ?? '')
  const broken = fc.tuple(text, fc.nat(), fc.constantFrom('', '{', '"', '\\u', '\ufeff', '\0', '9e999', ',', ']'))
  return fc.oneof(
    { weight: 6, arbitrary: text },
    { weight: 2, arbitrary: broken.map(([good, at, bad]) => good.slice(0, at % (good.length + 1)) + bad) },
    { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 200 }) },
    { weight: 1, arbitrary: fc.constantFrom('['.repeat(5_000), `${'{"a":'.repeat(3_000)}1`, '', ' ', 'null') },
  )
}

/** Bytes that are nearly one of `samples`: flipped, cut, doubled, put in, or nothing alike at all. */
export function nearlyBytes(samples: readonly Buffer[]): fc.Arbitrary<Buffer> {
  const change = fc.tuple(fc.constantFrom('flip', 'cut', 'double', 'insert', 'number'), fc.nat(), fc.nat(0xffff_ffff))
  const near = fc
    .tuple(fc.constantFrom(...samples), fc.array(change, { minLength: 1, maxLength: 3 }))
    .map(([sample, list]) => list.reduce(changed, sample))
  const any = fc.uint8Array({ maxLength: 300 }).map((list) => Buffer.from(list))
  return fc.oneof({ weight: 5, arbitrary: near }, { weight: 1, arbitrary: any })
}

function changed(bytes: Buffer, [how, where, what]: [string, number, number]): Buffer {
  const at = where % (bytes.length + 1)
  const [before, after] = [bytes.subarray(0, at), bytes.subarray(at)]
  if (how === 'cut') return before
  if (how === 'double') return Buffer.concat([bytes, after])
  if (how === 'insert') return Buffer.concat([before, Buffer.from([what & 255]), after])
  const copy = Buffer.from(bytes)
  if (how === 'number' && at + 4 <= copy.length) copy.writeUInt32BE(what, at)
  else if (copy.length > 0) copy[at % copy.length] = what & 255
  return copy
}

/**
 * Runs `decode` on each input. It returns, or throws what `isExpected` knows; nothing it read changes other objects.
 * Returns how many inputs were taken and how many refused: a fuzzer that only ever sees one of them finds little.
 */
export function decodes<T>(
  t: ExecutionContext,
  inputs: fc.Arbitrary<T>,
  count: number,
  decode: (input: T) => unknown,
  isExpected: (error: unknown) => boolean,
): void {
  const seen = { taken: 0, refused: 0 }
  fc.assert(
    fc.property(inputs, (input) => {
      try {
        decode(input)
        seen.taken++
      } catch (error) {
        if (!isExpected(error)) throw error
        seen.refused++
      }
      return isUnpolluted()
    }),
    cases(count),
  )
  t.true(seen.taken > 0 && seen.refused > 0, JSON.stringify(seen))
}

/** Whether no input has reached the prototype that all objects share. */
export function isUnpolluted(): boolean {
  return Object.keys(Object.prototype).length === 0 && !('newer' in {})
}
