import { createHash } from 'node:crypto'
import * as fs from 'node:fs'
import { constants } from 'node:os'
import { blockBytesOf, HASH_BYTES } from '../../../agent/store/blocks.ts'
import { at } from '../../../agent/store/directory.ts'
import type { BlockPool, Extent, NewFile } from '../../../agent/store/pool/contract.ts'
import { setMtime } from '../../../agent/sys/attributes.ts'
import { nextData, nextHole, punchHole } from '../../../agent/sys/files.ts'

const sha = (data: Buffer) => createHash('sha256').update(data).digest()

/** The block pool without threads, as simply as can be. */
export class PlainPool implements BlockPool {
  readonly threads = 2
  /** What was hashed again. */
  hashedBlocks = 0
  hashedFiles = 0

  async hashBlocks(fd: number, sizeBytes: number, first: number, count: number): Promise<Buffer> {
    const block = blockBytesOf(sizeBytes)
    const hashes: Buffer[] = []
    for (let nth = first; nth < first + count; nth++) {
      const data = Buffer.alloc(Math.min(block, sizeBytes - nth * block))
      fs.readSync(fd, data, 0, data.length, nth * block)
      hashes.push(sha(data))
      this.hashedBlocks++
    }
    return Buffer.concat(hashes)
  }

  async hashFiles(fd: number, names: readonly string[], sizes: readonly number[]) {
    const { data, outcomes } = await this.readFiles(fd, names, sizes)
    let offset = 0
    const hashes = sizes.map((size) => {
      this.hashedFiles++
      offset += size
      return sha(data.subarray(offset - size, offset))
    })
    return { hashes: Buffer.concat(hashes), outcomes }
  }

  async readFiles(fd: number, names: readonly string[], sizes: readonly number[]) {
    const outcomes = new Uint16Array(names.length)
    const contents = names.map((name, nth) => {
      const size = sizes[nth] ?? 0
      try {
        const file = fs.openSync(at(fd, name), fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW)
        const data = fs.readFileSync(file)
        fs.closeSync(file)
        if (data.length === size) return data
        outcomes[nth] = 1
      } catch (error) {
        outcomes[nth] = constants.errno[(error as { code: 'ENOENT' }).code]
      }
      return Buffer.alloc(size)
    })
    return { data: Buffer.concat(contents), outcomes }
  }

  async createFiles(fd: number, files: readonly NewFile[], payload: Buffer): Promise<Uint16Array> {
    return Uint16Array.from(files, (file) => {
      const data = payload.subarray(file.offset, file.offset + file.sizeBytes)
      if (!sha(data).equals(file.hash)) return 1
      const place = at(fd, file.name)
      try {
        fs.rmSync(place, { force: true })
        fs.writeFileSync(place, data, { mode: 0o600, flag: 'wx' })
        fs.chownSync(place, file.uid, file.gid)
        fs.chmodSync(place, file.mode)
        setMtime(place, file.mtimeNs)
        return 0
      } catch (error) {
        return constants.errno[(error as { code: 'ENOENT' }).code]
      }
    })
  }

  async writeBlocks(task: {
    fd: number
    sizeBytes: number
    first: number
    expected: Buffer
    extents: readonly Extent[]
    punch: boolean
  }): Promise<Uint8Array> {
    const { fd, sizeBytes, first, expected, extents, punch } = task
    const block = blockBytesOf(sizeBytes)
    const count = expected.length / HASH_BYTES
    await new Promise(setImmediate)
    return Uint8Array.from({ length: count }, (_, nth) => {
      const start = (first + nth) * block
      const data = Buffer.alloc(Math.min(block, sizeBytes - start))
      const inside = extents.flatMap((e) => {
        const from = Math.max(e.offset, start)
        const to = Math.min(e.offset + e.data.length, start + data.length)
        return from < to ? [{ offset: from, data: e.data.subarray(from - e.offset, to - e.offset) }] : []
      })
      for (const piece of inside) piece.data.copy(data, piece.offset - start)
      if (!sha(data).equals(expected.subarray(nth * HASH_BYTES, (nth + 1) * HASH_BYTES))) return 0
      if (punch) punchHole(fd, start, data.length)
      for (const piece of inside) fs.writeSync(fd, piece.data, 0, piece.data.length, piece.offset)
      return 1
    })
  }

  async copyRanges(from: number, to: number, ranges: readonly { offset: number; length: number }[]): Promise<void> {
    for (const { offset, length } of ranges) {
      punchHole(to, offset, length)
      for (let data = nextData(from, offset); data !== null && data < offset + length; ) {
        const end = Math.min(nextHole(from, data), offset + length)
        const buffer = Buffer.alloc(end - data)
        const read = fs.readSync(from, buffer, 0, buffer.length, data)
        fs.writeSync(to, buffer, 0, read, data)
        data = nextData(from, end)
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
