import { ulid } from 'ulid'
import { DEFAULT_OPTIONS } from '../agent/model/volume-options.ts'
import { addressOfHost } from '../lab/network.ts'
import { type End, PORT, startEnds } from './end-process.ts'
import type { BenchGround } from './ground.ts'
import type { Taken } from './order.ts'

/** What it took to bring a checkpoint of a held volume to the other host. */
export interface Brought extends Taken {
  readonly pullSeconds: number
  readonly applySeconds: number
  /** Content that the receiver asked for. */
  readonly pulledBytes: number
}

/** Wherry with a volume that h1 holds and h2 has a copy of. */
export class HeldPeer implements AsyncDisposable {
  /** The tree on h1, as a container would have it mounted. */
  readonly source: string
  /** The copy's tree on h2. */
  readonly receiver: string
  readonly #id: string
  readonly #h1: End
  readonly #h2: End
  #seq = 0

  private constructor(id: string, ends: readonly [End, End], trees: readonly [string, string]) {
    this.#id = id
    this.#h1 = ends[0]
    this.#h2 = ends[1]
    this.source = trees[0]
    this.receiver = trees[1]
  }

  static async start(name: string, ground: BenchGround): Promise<HeldPeer> {
    const ends = await startEnds(name, ground)
    const id = ulid()
    const create = (end: End) => end.tell({ do: 'create', id, options: DEFAULT_OPTIONS }) as Promise<string>
    const trees = [await create(ends[0]), await create(ends[1])] as const
    await ends[0].tell({ do: 'hold', id })
    return new HeldPeer(id, ends, trees)
  }

  /** Takes a checkpoint; resolves when the other host has it durably. */
  async checkpoint(): Promise<Brought> {
    const id = this.#id
    this.#seq++
    const taken = (await this.#h1.tell({ do: 'take', id, seq: this.#seq })) as Taken
    const takenMs = performance.now()
    const { checkpoint } = taken
    const from = { address: addressOfHost(1), port: PORT }
    const pulledBytes = (await this.#h2.tell({ do: 'pull', id, from, hash: checkpoint.hash })) as number
    const pulledMs = performance.now()
    await this.#h2.tell({ do: 'apply', id, checkpoint })
    const applySeconds = (performance.now() - pulledMs) / 1000
    return { ...taken, pullSeconds: (pulledMs - takenMs) / 1000, applySeconds, pulledBytes }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#h1.stop(), this.#h2.stop()])
  }
}
