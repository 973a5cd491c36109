import { mkdirSync, renameSync, rmdirSync } from 'node:fs'
import { ulid } from 'ulid'
import type { Checkpoint, VolumeOptions } from '../agent/model/model.ts'
import { DEFAULT_OPTIONS } from '../agent/model/volume-options.ts'
import type { Capture } from '../agent/store/contract.ts'
import { addressOfHost } from '../lab/network.ts'
import type { Case } from './cases.ts'
import { type End, PORT, startEnds } from './end-process.ts'
import type { BenchGround } from './ground.ts'
import type { Stats, Taken } from './order.ts'

/** What one copy by Wherry took. */
export interface Copied {
  readonly captureSeconds: number
  readonly pullSeconds: number
  readonly applySeconds: number
  readonly capture: Capture
  /** Bytes of content that crossed the network. */
  readonly pulledBytes: number
  readonly source: Stats
  readonly receiver: Stats
}

/** Wherry's copying between h1 and h2 for one case: two processes and state directories of its own. */
export class WherryPeer implements AsyncDisposable {
  readonly name = 'wherry'
  /** The tree that all peers copy: Wherry's volume on h1, as a container would have it mounted. */
  source = ''
  #receiver = ''
  #id = ''
  #seq = 0
  #checkpoint: Checkpoint | null = null
  readonly #case: Case
  readonly #h1: End
  readonly #h2: End

  private constructor(which: Case, h1: End, h2: End) {
    this.#case = which
    this.#h1 = h1
    this.#h2 = h2
  }

  static async start(which: Case, ground: BenchGround): Promise<WherryPeer> {
    const [one, two] = await startEnds(which.name, ground)
    const peer = new WherryPeer(which, one, two)
    await peer.renew()
    return peer
  }

  /** The receiver's tree. */
  tree(): string {
    return this.#receiver
  }

  /**
   * Makes a new volume of the same tree: neither end knows anything of it, so the next copy is a first one, from the
   * first hash on.
   */
  async renew(): Promise<void> {
    const old = { id: this.#id, source: this.source }
    this.#id = ulid()
    this.#seq = 0
    this.#checkpoint = null
    const owner = (await this.#case.owner?.()) ?? { uid: 0, gid: 0 }
    const options: VolumeOptions = { ...DEFAULT_OPTIONS, ...owner, mode: 0o700 }
    this.source = (await this.#h1.tell({ do: 'create', id: this.#id, options })) as string
    this.#receiver = (await this.#h2.tell({ do: 'create', id: this.#id, options })) as string
    if (old.id === '') return
    rmdirSync(this.source)
    renameSync(old.source, this.source)
    mkdirSync(old.source)
    for (const end of [this.#h1, this.#h2]) await end.tell({ do: 'drop', id: old.id })
  }

  /**
   * What is changed next is changed while h1 holds the volume, as only a container there could: its agent has taken
   * checkpoints by then. The next copy begins with the release.
   */
  async use(): Promise<void> {
    await this.#h1.tell({ do: 'hold', id: this.#id })
    // The second one is of a tree that the tracker watches.
    for (let nth = 0; nth < 2; nth++) {
      const { checkpoint } = (await this.#h1.tell({ do: 'take', id: this.#id, seq: this.#seq })) as Taken
      if (checkpoint.hash !== this.#checkpoint?.hash) throw new Error('nothing was changed, and yet a hash is another')
    }
  }

  /** Resolves when the receiver is durably at the source's state. */
  async sync(): Promise<Copied> {
    for (const end of [this.#h1, this.#h2]) await end.tell({ do: 'reset' })
    const times = await (this.#case.kind === 'none' && this.#checkpoint !== null ? this.#confirm() : this.#copy())
    const [source, receiver] = (await Promise.all([this.#h1, this.#h2].map((end) => end.tell({ do: 'stats' })))) as [
      Stats,
      Stats,
    ]
    return { ...times, source, receiver }
  }

  async #copy(): Promise<Omit<Copied, 'source' | 'receiver'>> {
    const id = this.#id
    const startedMs = performance.now()
    const capture = (await this.#h1.tell({ do: 'capture', id })) as Capture
    const capturedMs = performance.now()
    const { hash, bytes, files } = capture
    const from = { address: addressOfHost(1), port: PORT }
    const pulledBytes = (await this.#h2.tell({ do: 'pull', id, from, hash })) as number
    const pulledMs = performance.now()
    this.#seq += 1
    const checkpoint = { epoch: 1, seq: this.#seq, hash, at: new Date().toISOString(), bytes, files }
    await this.#h2.tell({ do: 'apply', id, checkpoint })
    const appliedMs = performance.now()
    this.#checkpoint = checkpoint
    return {
      captureSeconds: (capturedMs - startedMs) / 1000,
      pullSeconds: (pulledMs - capturedMs) / 1000,
      applySeconds: (appliedMs - pulledMs) / 1000,
      capture,
      pulledBytes,
    }
  }

  /** Both ends look at their trees and find the checkpoint that both have: nothing has to move. */
  async #confirm(): Promise<Omit<Copied, 'source' | 'receiver'>> {
    const startedMs = performance.now()
    const order = { do: 'capture', id: this.#id } as const
    const [mine, theirs] = (await Promise.all([this.#h1.tell(order), this.#h2.tell(order)])) as [Capture, Capture]
    const captureSeconds = (performance.now() - startedMs) / 1000
    const hash = this.#checkpoint?.hash
    if (mine.hash !== hash || theirs.hash !== hash) throw new Error('nothing was changed, and yet a hash is another')
    return { captureSeconds, pullSeconds: 0, applySeconds: 0, capture: mine, pulledBytes: 0 }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#h1.stop(), this.#h2.stop()])
  }
}
