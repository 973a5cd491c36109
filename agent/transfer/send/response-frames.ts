import { codeOf } from '../../model/errors.ts'
import type { BlockRun, TreeReader } from '../../store/tree-contract.ts'
import type { Compressor } from '../wire/compression.ts'
import { CHUNK_MAX_BYTES, DATA_MAX_BYTES, mayPack } from '../wire/frame.ts'
import { FrameBatch, type Loose } from '../wire/frame-batch.ts'
import { encodeChanged, encodeFlag, encodeOffset, type SentRequest } from '../wire/request-codec.ts'

/** A frame that is ready to be sent. */
export interface Outgoing extends Loose {
  readonly unpackedBytes?: number | undefined
}

/**
 * Yields the frames that respond to requests, in order; small frames share a batch.
 * Coded errors of the reader end the copy, except TREE_CHANGED.
 */
export async function* responseFrames(
  reader: TreeReader,
  requests: readonly SentRequest[],
  packer: Compressor,
): AsyncGenerator<Outgoing> {
  const bundle = new FrameBatch()
  for (const request of requests) {
    for await (const frame of framesOf(reader, request)) {
      if (bundle.add(frame)) continue
      const before = bundle.take()
      if (before !== null) yield await packed(before, packer)
      if (!bundle.add(frame)) yield await packed(frame, packer)
    }
  }
  const rest = bundle.take()
  if (rest !== null) yield await packed(rest, packer)
}

async function packed(frame: Loose, packer: Compressor): Promise<Outgoing> {
  if (frame.body === undefined || !mayPack(frame.type)) return frame
  return { ...frame, ...(await packer.pack(frame.body)) }
}

function framesOf(reader: TreeReader, request: SentRequest): AsyncGenerator<Loose> {
  if (request.kind === 'files') return filesFrames(reader, request.indexes)
  return request.kind === 'hashes' ? hashesFrames(reader, request.index) : blocksFrames(reader, request.run)
}

/** Yields the manifest, which is sent before any request. */
export async function* manifestFrames(reader: TreeReader, packer: Compressor): AsyncGenerator<Outgoing> {
  for await (const chunk of reader.manifest()) {
    for (const part of parts(chunk, CHUNK_MAX_BYTES)) yield await packed({ type: 'manifest', body: part }, packer)
  }
  yield { type: 'manifestEnd' }
}

async function* filesFrames(reader: TreeReader, indexes: readonly number[]): AsyncGenerator<Loose> {
  const { data, changed } = await reader.files(indexes)
  if (changed.length > 0) yield { type: 'changed', body: encodeChanged(changed.toSorted((a, b) => a - b)) }
  yield { type: 'files', body: data }
}

async function* hashesFrames(reader: TreeReader, index: number): AsyncGenerator<Loose> {
  // One chunk behind, because the last one is marked.
  let last: Buffer = Buffer.alloc(0)
  for await (const chunk of reader.hashes(index)) {
    for (const part of parts(chunk, CHUNK_MAX_BYTES)) {
      if (last.length > 0) yield { type: 'hashes', body: last, head: encodeFlag(false) }
      last = part
    }
  }
  yield { type: 'hashes', body: last, head: encodeFlag(true) }
}

async function* blocksFrames(reader: TreeReader, run: BlockRun): AsyncGenerator<Loose> {
  let changed = false
  try {
    for await (const { offset, data } of reader.blocks(run)) {
      let at = offset
      for (const part of parts(data, DATA_MAX_BYTES)) {
        yield { type: 'piece', head: encodeOffset(at), body: part }
        at += part.length
      }
    }
  } catch (error) {
    // The asking host is told, and goes on with the rest.
    if (codeOf(error) !== 'TREE_CHANGED') throw error
    changed = true
  }
  yield { type: 'runEnd', head: encodeFlag(changed) }
}

function* parts(data: Buffer, maxBytes: number): Generator<Buffer> {
  for (let at = 0; at < data.length; at += maxBytes) yield data.subarray(at, at + maxBytes)
}
