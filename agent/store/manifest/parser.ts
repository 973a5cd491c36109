import { createHash } from 'node:crypto'
import { WherryError } from '../../model/errors.ts'
import { YieldLoop } from '../../runtime/yield-loop.ts'
import { type BytePath, printable } from './byte-path.ts'
import { CHUNK_BYTES, MAGIC, TRAILER_BYTES, TREE_LIMITS, type TreeLimits } from './format.ts'
import { Manifest } from './manifest.ts'
import { checkRecord, depthAt, fileSizeFrom, kindAt, Malformed } from './record-codec.ts'
import { RecordIndex } from './record-index.ts'
import { TreeCheck } from './tree-check.ts'

const FIRST_ROOM_BYTES = 1024 * 1024

/**
 * Decodes a manifest from a source that may be hostile. MANIFEST_INVALID names the entry.
 * The limits of format.ts bound the memory: one and a half times the longest manifest while it arrives.
 */
export async function decodeManifest(
  chunks: AsyncIterable<Buffer> | Iterable<Buffer>,
  limits = TREE_LIMITS,
): Promise<Manifest> {
  let room: Buffer = Buffer.alloc(0)
  let end = 0
  for await (const chunk of chunks) {
    if (end + chunk.length > limits.manifestBytes) throw tooLong(limits)
    if (end === 0 && !startsWell(chunk)) throw invalid(new Malformed('not a manifest of version 2'), 0, '')
    if (end + chunk.length > room.length) room = grown(room, end, chunk.length, limits)
    end += chunk.copy(room, end)
  }
  return parseManifest(room.subarray(0, end), limits)
}

/** Nothing is collected of what is no manifest. */
function startsWell(chunk: Buffer): boolean {
  const bytes = Math.min(chunk.length, MAGIC.length)
  return chunk.subarray(0, bytes).equals(MAGIC.subarray(0, bytes))
}

function grown(room: Buffer, end: number, bytes: number, { manifestBytes }: TreeLimits): Buffer {
  const wanted = Math.max(FIRST_ROOM_BYTES, room.length * 2, end + bytes)
  const larger = Buffer.allocUnsafeSlow(Math.min(wanted, manifestBytes))
  room.copy(larger, 0, 0, end)
  return larger
}

function tooLong({ manifestBytes }: TreeLimits): WherryError {
  return new WherryError(
    'MANIFEST_INVALID',
    `The manifest is longer than ${manifestBytes} bytes, which is the limit.`,
    {
      hint: 'The host that sent it runs another version of Wherry, or is not to be trusted.',
    },
  )
}

/** As `decodeManifest`; the buffer is kept and must not change. */
export async function parseManifest(buffer: Buffer, limits = TREE_LIMITS): Promise<Manifest> {
  const hash = createHash('sha256')
  const index = new RecordIndex()
  const check = new TreeCheck(buffer)
  const pace = new YieldLoop()
  let [at, hashed, bytes] = [MAGIC.length, MAGIC.length, 0]
  try {
    if (!buffer.subarray(0, MAGIC.length).equals(MAGIC)) throw new Malformed('not a manifest of version 2')
    while (buffer[at] !== 0 && at < buffer.length) {
      if (index.count >= limits.entries) throw new Malformed('too many entries')
      const end = checkRecord(buffer, at, index.count)
      check.take(at)
      const kind = kindAt(buffer, at)
      index.add(at, depthAt(buffer, at), kind === 'dir')
      if (kind === 'file') bytes += fileSizeFrom(buffer, end)
      if (!Number.isSafeInteger(bytes)) throw new Malformed('sizes beyond any disk')
      at = end
      if (at - hashed < CHUNK_BYTES) continue
      hash.update(buffer.subarray(hashed, at))
      hashed = at
      if (pace.due()) await pace.rest()
    }
    if (at + TRAILER_BYTES !== buffer.length) throw new Malformed('cut off before the end, or data after it')
    if (index.count === 0) throw new Malformed('no root directory')
    if (buffer.readUInt32LE(at + 1) !== index.count) throw new Malformed('wrong number of entries')
  } catch (error) {
    if (error instanceof Malformed) throw invalid(error, index.count, check.lastName)
    throw error
  }
  hash.update(buffer.subarray(hashed, at))
  const { offsets, parents } = index.finish(at)
  return new Manifest(buffer, offsets, parents, hash.digest('hex'), bytes)
}

function invalid(fault: Malformed, index: number, name: BytePath): WherryError {
  const place = index === 0 ? '' : ` (after ${printable(name)})`
  return new WherryError('MANIFEST_INVALID', `The manifest is invalid at entry ${index}${place}: ${fault.message}.`, {
    hint: 'Use the same version of Wherry on all hosts. If they have it, the sender or its disk is damaged.',
    cause: fault,
  })
}
