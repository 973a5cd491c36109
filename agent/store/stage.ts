import { mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { UNFINISHED } from '../durable.ts'
import { errnoOf } from '../sys/failure.ts'
import { ContentHash, dataChunks } from './content.ts'
import { bootId } from './tick.ts'

const CONTENT = /^([0-9a-f]{64})$/
const PART = /^([0-9a-f]{64})\.part$/

/**
 * Received content, by its hash: `<hash>` is complete and checked, `<hash>.part` is as far as it came (its size is
 * where to go on), `<hash>.<n>` is a further copy for an apply that needs the content at several paths.
 */
export class Stage {
  readonly directory: string

  constructor(directory: string) {
    this.directory = directory
  }

  get manifest(): string {
    return join(this.directory, 'manifest')
  }

  content(hash: string): string {
    return join(this.directory, hash)
  }

  part(hash: string): string {
    return join(this.directory, `${hash}.part`)
  }

  copy(hash: string, number: number): string {
    return join(this.directory, `${hash}.${number}`)
  }

  /**
   * Makes the directory when missing and makes sure that what is in it can be believed: names outlive a power loss while
   * data may not, so after a reboot complete files are read again and thrown away when they are not what their name says.
   */
  async prepare(signal: AbortSignal): Promise<void> {
    await mkdir(this.directory, { recursive: true, mode: 0o700 })
    const boot = await bootId()
    const bootFile = join(this.directory, 'boot')
    const known = await readFile(bootFile, 'utf8').catch(() => null)
    if (known === boot) return
    for (const name of await readdir(this.directory)) {
      if (!CONTENT.test(name)) continue
      if ((await hashFile(join(this.directory, name), signal)) !== name) await rm(join(this.directory, name))
    }
    await writeFile(bootFile, boot)
  }

  /** Drops all content that `keep` does not name, and what is unfinished. */
  async prune(keep: ReadonlyMap<string, unknown>): Promise<void> {
    for (const name of await readdir(this.directory)) {
      const hash = CONTENT.exec(name)?.[1] ?? PART.exec(name)?.[1]
      const wanted = hash === undefined ? name === 'manifest' || name === 'boot' : keep.has(hash)
      if (!wanted) await rm(join(this.directory, name), { recursive: true, force: true })
    }
  }

  /** Hashes of complete contents, with how many files of each there are (the content and its copies). */
  async contents(): Promise<Map<string, string[]>> {
    const contents = new Map<string, string[]>()
    // Copies sort behind the content itself: they are taken first, from the end.
    for (const name of (await readdir(this.directory)).sort()) {
      const hash = /^([0-9a-f]{64})(\.\d+)?$/.exec(name)?.[1]
      if (hash === undefined) continue
      const paths = contents.get(hash)
      if (paths === undefined) contents.set(hash, [join(this.directory, name)])
      else paths.push(join(this.directory, name))
    }
    return contents
  }

  /** Size and allocated bytes of what is there of a content so far. */
  async partial(hash: string): Promise<{ sizeBytes: number; allocatedBytes: number }> {
    try {
      const { size, blocks } = await stat(this.part(hash))
      return { sizeBytes: size, allocatedBytes: blocks * 512 }
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return { sizeBytes: 0, allocatedBytes: 0 }
      throw error
    }
  }

  /** Makes the copies that `uses` paths need beyond the content itself. Holes stay holes. May be repeated. */
  async makeCopies(hash: string, uses: number): Promise<void> {
    for (let number = 1; number < uses; number += 1) {
      const unfinished = `${this.copy(hash, number)}${UNFINISHED}`
      await copyContent(this.content(hash), unfinished)
      await rename(unfinished, this.copy(hash, number))
    }
  }

  async drop(): Promise<void> {
    await rm(this.directory, { recursive: true, force: true })
  }
}

async function hashFile(path: string, signal: AbortSignal): Promise<string> {
  const file = await open(path, 'r')
  try {
    const hash = new ContentHash(signal)
    await hash.read(file.fd, (await file.stat()).size)
    return hash.digest()
  } finally {
    await file.close()
  }
}

async function copyContent(from: string, to: string): Promise<void> {
  const source = await open(from, 'r')
  try {
    const { size } = await source.stat()
    const target = await open(to, 'w', 0o600)
    try {
      for await (const { offset, data } of dataChunks(source.fd, 0, size)) await writeAll(target, data, offset)
      await target.truncate(size)
    } finally {
      await target.close()
    }
  } finally {
    await source.close()
  }
}

/** Writes all of `data`: a nearly full disk takes a part first. */
export async function writeAll(
  file: { write(data: Buffer, offset: number, length: number, position: number): Promise<{ bytesWritten: number }> },
  data: Buffer,
  position: number,
): Promise<void> {
  for (let done = 0; done < data.length; ) {
    const { bytesWritten } = await file.write(data, done, data.length - done, position + done)
    done += bytesWritten
  }
}
