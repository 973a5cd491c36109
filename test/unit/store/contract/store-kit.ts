import type { ExecutionContext } from 'ava'
import type { Checkpoint } from '../../../../agent/model/model.ts'
import { DEFAULT_OPTIONS } from '../../../../agent/model/volume-options.ts'
import type { Capture, LocalCopy, Store } from '../../../../agent/store/contract.ts'
import type { SnapshotRef } from '../../../../agent/store/tree-contract.ts'

/** A tree as another host receives it. */
export interface GivenTree {
  /** Hash of the manifest that it is sent. */
  readonly hash: string
  /** Null: not all content of the manifest could be had. */
  readonly text: string | null
}

/**
 * A store, and what containers and other hosts do with its trees. Here a tree is one text; the empty text is the tree
 * of a new volume.
 */
export interface StoreSubject {
  readonly store: Store
  /** A container writes. */
  write(id: string, text: string): void
  /** Somebody restores the tree that `receive` brings for that text. */
  restore(id: string, text: string): void
  read(id: string): string
  /** Takes another host's tree into the stage, all of it. Returns its hash. */
  receive(volume: StoredVolume, text: string): Promise<string>
  /** Another host reads. */
  give(ref: SnapshotRef): Promise<GivenTree>
  /** Lets as much time pass as a promise needs. */
  settle<T>(promise: Promise<T>): Promise<T>
}

export type StoredVolume = Pick<LocalCopy, 'id' | 'name' | 'options'>

export const STORED_VOLUME: StoredVolume = { id: 'v1', name: 'data', options: DEFAULT_OPTIONS }
export const HELD = { epoch: 2, incarnation: 'i2' }
export const NEVER_ABORTED = new AbortController().signal

export function checkpointAt(
  { hash, bytes, files }: Pick<Capture, 'hash' | 'bytes' | 'files'>,
  seq: number,
): Checkpoint {
  return { epoch: 2, seq, hash, bytes, files, at: '2026-01-01T00:00:00.000Z' }
}

/** What the decisions do with a store, in their order. */
export class StoreWork {
  readonly subject: StoreSubject
  readonly store: Store
  seq = 0

  constructor(subject: StoreSubject) {
    this.subject = subject
    // Each call is awaited in the store's kind of time.
    this.store = new Proxy(subject.store, {
      get: (store, name: keyof Store) => {
        const call = store[name] as (...args: unknown[]) => unknown
        return (...args: unknown[]) => {
          const reply = call.apply(store, args)
          return reply instanceof Promise ? subject.settle(reply) : reply
        }
      },
    })
  }

  give(kind: SnapshotRef['kind']): Promise<GivenTree> {
    return this.subject.settle(this.subject.give({ id: STORED_VOLUME.id, kind }))
  }

  receive(text: string): Promise<string> {
    return this.subject.settle(this.subject.receive(STORED_VOLUME, text))
  }

  write(text: string): void {
    this.subject.write(STORED_VOLUME.id, text)
  }

  /** Makes a new copy of a volume that this host holds. */
  async hold(): Promise<void> {
    await this.store.create(STORED_VOLUME)
    await this.store.update(STORED_VOLUME.id, { held: HELD })
  }

  async capture(): Promise<Capture> {
    return await this.store.capture(STORED_VOLUME.id, 'quiet', NEVER_ABORTED)
  }

  async freeze(): Promise<void> {
    await this.store.spoolFreeze(STORED_VOLUME.id, 'quiet', NEVER_ABORTED)
  }

  /** Takes a checkpoint of the volume in use. */
  async checkpoint(): Promise<Checkpoint> {
    await this.store.spoolRound(STORED_VOLUME.id, NEVER_ABORTED)
    await this.freeze()
    const taken = checkpointAt(await this.store.spoolLast(STORED_VOLUME.id, NEVER_ABORTED), ++this.seq)
    await this.store.spoolCommit(STORED_VOLUME.id, taken)
    return taken
  }

  async changed(): Promise<boolean> {
    return (await this.store.spoolRound(STORED_VOLUME.id, NEVER_ABORTED)).changed
  }

  /** Fills the copy with a tree of another host. */
  async filled(text: string): Promise<Checkpoint> {
    const hash = await this.receive(text)
    const checkpoint = checkpointAt({ hash, bytes: text.length, files: 1 }, ++this.seq)
    await this.store.apply(STORED_VOLUME.id, checkpoint)
    return checkpoint
  }
}

/** One rule of the contract. A double that breaks it may hide a bug of the decisions. */
export type StoreRule = (t: ExecutionContext, work: StoreWork) => Promise<void>
export type StoreRules = Readonly<Record<string, StoreRule>>
