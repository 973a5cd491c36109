import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import type { Checkpoint } from '../../../../agent/model/model.ts'
import {
  calm,
  captureCheckpoint,
  type Sent,
  type StoreHost,
  send,
  temporaryDirectory,
  type VOLUME_OPTIONS,
} from '../fixture.ts'

type Volume = { id: string; name: string; options: typeof VOLUME_OPTIONS }

/** A volume that a host holds and takes checkpoints of. */
export class Held {
  readonly host: StoreHost
  readonly volume: Volume
  seq = 0

  constructor(host: StoreHost, volume: Volume) {
    this.host = host
    this.volume = volume
  }

  static async begin(host: StoreHost, volume: Volume): Promise<Held> {
    await host.store.create(volume)
    await host.store.update(volume.id, { held: { epoch: 1, incarnation: 'test' } })
    return new Held(host, volume)
  }

  get data(): string {
    return this.host.data(this.volume.id)
  }

  async rounds(count: number): Promise<number> {
    let bytes = 0
    for (let nth = 0; nth < count; nth++) bytes += (await this.host.store.spoolRound(this.volume.id, calm)).bytesSpooled
    return bytes
  }

  /**
   * The last round and the commit; `frozen` runs when the tree is frozen, not read yet, and the containers are
   * still paused.
   */
  async take(kind: 'quiet' | 'live' = 'quiet', frozen: () => unknown = () => {}): Promise<Checkpoint> {
    await this.host.store.spoolFreeze(this.volume.id, kind, calm)
    await frozen()
    const capture = await this.host.store.spoolLast(this.volume.id, calm)
    const taken = captureCheckpoint(capture, ++this.seq)
    await this.host.store.spoolCommit(this.volume.id, taken)
    return taken
  }

  /** Sends what was committed last and applies it if it came whole. */
  async copyTo(to: StoreHost, taken: Checkpoint): Promise<Sent> {
    const sent = await send(this.host.store, to.store, this.volume, 'spool')
    if (sent.complete) await to.store.apply(this.volume.id, taken)
    return sent
  }
}

/** A copy of a tree as it is now; on the file system of `beside`. */
export async function frozen(t: ExecutionContext, tree: string): Promise<string> {
  const path = join(await temporaryDirectory(t), 'frozen')
  execFileSync('cp', ['-a', '--sparse=always', tree, path])
  return path
}
