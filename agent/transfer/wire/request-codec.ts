import type { BlockRequest } from '../../store/tree-contract.ts'
import { FILES_PER_REQUEST_MAX, ProtocolViolation, REQUESTS_MAX_BYTES } from './frame.ts'

/** A block request as the source receives it: the expected length stays with the asking host. */
export type SentRequest = BlockRequest extends infer Each
  ? Each extends BlockRequest
    ? Omit<Each, 'bytes'>
    : never
  : never

/**
 * Block requests on the wire: one byte of kind, then the fields, as big-endian 32-bit numbers.
 * Codes never change their meaning.
 */
const KIND = { files: 1, hashes: 2, blocks: 3 } as const
const HASHES_BYTES = 5
const BLOCKS_BYTES = 13
/** Kind and number of files, in front of their indexes. */
const FILES_HEAD_BYTES = 3

function bytesOf(request: SentRequest): number {
  if (request.kind === 'files') return FILES_HEAD_BYTES + request.indexes.length * 4
  return request.kind === 'hashes' ? HASHES_BYTES : BLOCKS_BYTES
}

function write(request: SentRequest, into: Buffer, start: number): number {
  let at = into.writeUInt8(KIND[request.kind], start)
  if (request.kind === 'hashes') return into.writeUInt32BE(request.index, at)
  if (request.kind === 'blocks') {
    const { index, first, count } = request.run
    for (const field of [index, first, count]) at = into.writeUInt32BE(field, at)
    return at
  }
  if (request.indexes.length === 0 || request.indexes.length > FILES_PER_REQUEST_MAX)
    throw new RangeError(`${request.indexes.length} files in one request`)
  at = into.writeUInt16BE(request.indexes.length, at)
  for (const index of request.indexes) at = into.writeUInt32BE(index, at)
  return at
}

/**
 * Encodes requests into the bodies of as few frames as possible, in order.
 * Throws RangeError for numbers that no tree has.
 */
export function encodeRequests(requests: readonly SentRequest[]): Buffer[] {
  const bodies: Buffer[] = []
  for (let first = 0; first < requests.length; ) {
    let bytes = 0
    let next = first
    for (
      let request = requests[next];
      request !== undefined && bytes + bytesOf(request) <= REQUESTS_MAX_BYTES;
      request = requests[next]
    ) {
      bytes += bytesOf(request)
      next += 1
    }
    const body = Buffer.allocUnsafe(bytes)
    let at = 0
    for (const request of requests.slice(first, next)) at = write(request, body, at)
    bodies.push(body)
    first = next
  }
  return bodies
}

/**
 * Decodes requests. Throws ProtocolViolation for what no asking host sends.
 * The reader checks whether the tree has such files.
 */
export function decodeRequests(body: Buffer): SentRequest[] {
  const requests: SentRequest[] = []
  try {
    for (let at = 0; at < body.length; ) {
      const request = readRequest(body, at)
      at += bytesOf(request)
      requests.push(request)
    }
  } catch (error) {
    if (error instanceof RangeError) throw new ProtocolViolation(`requests of ${body.length} bytes end within one`)
    throw error
  }
  return requests
}

function readRequest(body: Buffer, start: number): SentRequest {
  const kind = body.readUInt8(start)
  const field = (nth: number) => body.readUInt32BE(start + 1 + nth * 4)
  if (kind === KIND.hashes) return { kind: 'hashes', index: field(0) }
  if (kind === KIND.blocks) {
    const run = { index: field(0), first: field(1), count: field(2) }
    if (run.count === 0) throw new ProtocolViolation('a run of no blocks')
    return { kind: 'blocks', run }
  }
  if (kind !== KIND.files) throw new ProtocolViolation(`a request of unknown kind ${kind}`)
  const count = body.readUInt16BE(start + 1)
  if (count === 0 || count > FILES_PER_REQUEST_MAX) throw new ProtocolViolation(`a request of ${count} files`)
  const at = start + FILES_HEAD_BYTES
  return { kind: 'files', indexes: Array.from({ length: count }, (_, nth) => body.readUInt32BE(at + nth * 4)) }
}

/** Encodes positions among the files of a request, in rising order. */
export function encodeChanged(positions: readonly number[]): Buffer {
  const body = Buffer.allocUnsafe(positions.length * 2)
  for (const [nth, position] of positions.entries()) body.writeUInt16BE(position, nth * 2)
  return body
}

/** Decodes positions. Throws ProtocolViolation for positions beyond `count` files, or not in rising order. */
export function decodeChanged(body: Buffer, count: number): number[] {
  if (body.length % 2 !== 0) throw new ProtocolViolation(`positions of ${body.length} bytes`)
  const positions = Array.from({ length: body.length / 2 }, (_, nth) => body.readUInt16BE(nth * 2))
  const rising = positions.every((position, nth) => position > (positions[nth - 1] ?? -1))
  if (!rising || (positions.at(-1) ?? 0) >= count) throw new ProtocolViolation('positions of files not asked for')
  return positions
}

export function encodeOffset(offset: number): Buffer {
  if (!Number.isSafeInteger(offset) || offset < 0) throw new RangeError(`a piece at ${offset}`)
  const head = Buffer.allocUnsafe(8)
  head.writeBigUInt64BE(BigInt(offset))
  return head
}

/** Decodes an offset. Throws ProtocolViolation for one that no file can have. */
export function decodeOffset(head: Buffer): number {
  const offset = Number(head.readBigUInt64BE())
  if (!Number.isSafeInteger(offset)) throw new ProtocolViolation(`an offset of ${offset} bytes`)
  return offset
}

export function encodeFlag(flag: boolean): Buffer {
  return Buffer.from([flag ? 1 : 0])
}

/** Decodes a flag. Throws ProtocolViolation. */
export function decodeFlag(head: Buffer): boolean {
  const value = head.readUInt8()
  if (value > 1) throw new ProtocolViolation(`a flag of ${value}`)
  return value === 1
}
