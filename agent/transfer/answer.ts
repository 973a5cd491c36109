import { codeOf } from '../errors.ts'
import type { BlockRun, TreeReader } from '../store/exchange.ts'
import { CHUNK_MAX_BYTES, DATA_MAX_BYTES, type FrameType } from './frame.ts'
import type { Packer } from './packing.ts'
import { type AskedWant, encodeChanged, encodeFlag, encodeOffset } from './want.ts'

/** A frame made ready, in the order of `Channel.send`. */
export interface Outgoing {
  readonly type: FrameType
  readonly body?: Buffer | undefined
  readonly head?: Buffer | undefined
  readonly unpackedBytes?: number | undefined
}

/** The frames that answer one want. Coded errors of the reader but TREE_CHANGED end the copy. */
export function answerFrames(reader: TreeReader, want: AskedWant, packer: Packer): AsyncGenerator<Outgoing> {
  if (want.kind === 'files') return filesFrames(reader, want.indexes, packer)
  return want.kind === 'hashes' ? hashesFrames(reader, want.index) : blocksFrames(reader, want.run, packer)
}

/** The manifest as it is sent before anything is wanted. */
export async function* manifestFrames(reader: TreeReader, packer: Packer): AsyncGenerator<Outgoing> {
  for await (const chunk of reader.manifest()) {
    for (const part of parts(chunk, CHUNK_MAX_BYTES)) yield { type: 'manifest', ...(await packer.pack(part)) }
  }
  yield { type: 'manifestEnd' }
}

async function* filesFrames(reader: TreeReader, indexes: readonly number[], packer: Packer): AsyncGenerator<Outgoing> {
  const { data, changed } = await reader.files(indexes)
  if (changed.length > 0) yield { type: 'changed', body: encodeChanged(changed.toSorted((a, b) => a - b)) }
  yield { type: 'files', ...(await packer.pack(data)) }
}

async function* hashesFrames(reader: TreeReader, index: number): AsyncGenerator<Outgoing> {
  // One behind, because the last one says that it is the last.
  let last: Buffer = Buffer.alloc(0)
  for await (const chunk of reader.hashes(index)) {
    for (const part of parts(chunk, CHUNK_MAX_BYTES)) {
      if (last.length > 0) yield { type: 'hashes', body: last, head: encodeFlag(false) }
      last = part
    }
  }
  yield { type: 'hashes', body: last, head: encodeFlag(true) }
}

async function* blocksFrames(reader: TreeReader, run: BlockRun, packer: Packer): AsyncGenerator<Outgoing> {
  let changed = false
  try {
    for await (const { offset, data } of reader.blocks(run)) {
      let at = offset
      for (const part of parts(data, DATA_MAX_BYTES)) {
        yield { type: 'piece', head: encodeOffset(at), ...(await packer.pack(part)) }
        at += part.length
      }
    }
  } catch (error) {
    // The asker hears of it and goes on with the rest.
    if (codeOf(error) !== 'TREE_CHANGED') throw error
    changed = true
  }
  yield { type: 'runEnd', head: encodeFlag(changed) }
}

function* parts(data: Buffer, maxBytes: number): Generator<Buffer> {
  for (let at = 0; at < data.length; at += maxBytes) yield data.subarray(at, at + maxBytes)
}
