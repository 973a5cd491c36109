import type { Checkpoint, VolumeOptions } from '../model/model.ts'
import type { SnapshotRef } from './snapshot-ref.ts'
import type { TreeReader, TreeWriter } from './tree-contract.ts'

/** What this host's disk says of its copy of one volume (`volume.json`): the disks describe themselves. */
export interface LocalCopy {
  readonly id: string
  readonly name: string
  readonly options: VolumeOptions
  /** The checkpoint this tree was last at; null: never captured (a new volume's tree). */
  readonly checkpoint: Checkpoint | null
  /** Set while this host holds the volume: epoch and incarnation of the hold. The tree is then newer than `checkpoint`. */
  readonly held: { readonly epoch: number; readonly incarnation: string } | null
  /** True while an apply has begun and not ended: the tree is mixed and must not be mounted or sent. */
  readonly applying: boolean
  /**
   * Paths (the first few, printable) at which the tree of an idle copy was found not to be its checkpoint's, by
   * `verify` or by a quiet capture: the copy must be neither mounted nor sent until an apply made it whole, or until
   * another look found it so; null: none known.
   */
  readonly damaged: readonly string[] | null
  /** Highest epoch ever seen for the volume on this host; never goes down. */
  readonly epochSeen: number
  /** Trees put aside because they have writes that the cluster never got; newest last. Nothing but a person removes them, by removing the directory. */
  readonly diverged: readonly DivergedTree[]
  /** Ids Docker mounted the volume with and has not unmounted, with how many times each. */
  readonly mounts: Readonly<Record<string, number>>
  /** What is known of these uses beside their number. */
  readonly uses: UseMarks
}

/** By these the end of a use is found whose Unmount never came, also by an agent that did not live through all of it. */
export interface UseMarks {
  /** When Docker unmounted, on the clock's elapsedMs: since the newest Mount, and shortly before it. */
  readonly unmountsMs: readonly number[]
  /** Null: nobody has looked since the newest Mount. */
  readonly ground: UseGround | null
}

/** The containers of a volume as they were right after its newest Mount; and what was seen of them since. */
export interface UseGround {
  /** When each had last stopped (ms since 1970), by id: another time later means that it has run since. Times are compared for being the same only, because clocks may be stepped. */
  readonly ends: Readonly<Record<string, number | null>>
  /** Those that were running then. */
  readonly live: readonly string[]
  /** Others that were seen to run since, or to have run. */
  readonly since: readonly string[]
}

/** A tree under `diverged/` of a copy's directory. */
export interface DivergedTree {
  /** Name of its directory there. */
  readonly name: string
  /** The epoch it was written in. */
  readonly epoch: number
  /** The checkpoint it is based on; null: none. */
  readonly base: { readonly epoch: number; readonly seq: number } | null
  /** ISO 8601, when it was put aside. */
  readonly at: string
  /** Sum of the sizes of its regular files; null: not known. */
  readonly bytes: number | null
}

/** A copy of a removed volume, or one that was too many, that still lies on this disk. */
export interface RemovedCopy {
  readonly id: string
  readonly name: string
  /** Below the state directory. */
  readonly directory: string
  /**
   * ISO 8601: by this host's clock and uptime it is not deleted before; null: it was set aside, and stays until an
   * operator deletes it.
   */
  readonly until: string | null
}

/** One round of a checkpoint while the volume is held. */
export interface SpoolRound {
  /** False: nothing differs from the copy's last checkpoint. */
  readonly changed: boolean
  /** Content that had to be read because it could have changed since the round before, and how much of it was copied into the spool. */
  readonly bytesRead: number
  readonly bytesSpooled: number
  /** Null: the tracker knew what had changed; else why changed files had to be read whole. */
  readonly scanned: string | null
}

export interface Capture {
  readonly hash: string
  readonly bytes: number
  readonly files: number
  /** How many files were read because they could have changed, and their sizes; the rest was recognised as unchanged. */
  readonly filesRead: number
  readonly bytesRead: number
}

/** One file or directory of a copy that is not what the copy's manifest says. */
export interface Damage {
  /** For a person to read (bytes that are no UTF-8 are replaced). */
  readonly path: string
  /** `content`: bytes differ; `attributes`: mode, owner, time, flags or extended attributes do; `kind`: something else is there. */
  readonly reason: 'missing' | 'extra' | 'kind' | 'content' | 'attributes' | 'unreadable'
  /** `attributes`: how the plain ones differ, for a person; null: only others do, such as extended attributes. */
  readonly detail: string | null
  /** How many of its blocks differ; 0 for what has no content. */
  readonly blocks: number
}

/** What re-reading a copy found. */
export interface Verification {
  readonly filesChecked: number
  readonly bytesRead: number
  /** The first of what is damaged, in tree order. */
  readonly damaged: readonly Damage[]
  /** How many there are in all. */
  readonly damagedCount: number
}

/**
 * Bytes on this disk, as the decisions see them. Knows no network and no registry. Everything is under
 * `<state>/volumes/<id>/`. Arguments and answers can be cloned: the store works in another thread (agent/mover).
 */
export interface Store {
  /** All copies on this disk. A directory that cannot be understood is reported in `damaged`, never touched. */
  copies(): Promise<{ copies: LocalCopy[]; damaged: { path: string; reason: string }[] }>
  copy(id: string): Promise<LocalCopy | null>
  /** Makes an empty copy (no checkpoint). Safe to repeat. Durable on return. */
  create(volume: { id: string; name: string; options: VolumeOptions }): Promise<LocalCopy>
  /** Changes fields of `volume.json`; durable on return (temp file, fsync, rename, fsync of the directory). */
  update(id: string, change: Partial<Omit<LocalCopy, 'id'>>): Promise<LocalCopy>

  /**
   * Reads the tree into a manifest and keeps it. `quiet`: nobody writes now; a tree that changes meanwhile rejects
   * TREE_CHANGED. `live`: the tree is in use; entries that vanish or change meanwhile are left out or fuzzy, the result
   * is good for sending ahead only and does not replace the copy's manifest of its last checkpoint.
   * Unchanged files are recognised by the syncfs-and-T rule (design) and not read again. Synced to disk on return. A
   * quiet capture of an idle copy sets and clears its `damaged`.
   */
  capture(id: string, kind: 'quiet' | 'live', signal: AbortSignal): Promise<Capture>
  /**
   * As a quiet capture, but nothing is written to the state directory, which may be read-only, and nothing of it is
   * kept: it may be read (`aside`) until the next one, or until this process ends. All is read.
   */
  captureAside(id: string, signal: AbortSignal): Promise<Capture>
  /** Writes a small file into the state directory, and syncs it. Rejects with the system call's error. */
  probe(): Promise<void>
  /**
   * A round of a checkpoint of a held volume, its containers running: reads what may have changed, and copies what differs from the last checkpoint
   * into the spool, so that the last round finds little left. What is spooled is good only if its hash still fits then. Nothing is durable. CHANGES_MISSED: the tracker was
   * found wrong; nothing of what it said counts any more, the next round reads all, and the checkpoints since the agent's start may lack something.
   */
  spoolRound(id: string, signal: AbortSignal): Promise<SpoolRound>
  /**
   * The last look of a checkpoint at the tree, nobody writing (`quiet`; TREE_CHANGED otherwise, and may be tried again), or as good as it gets while they do
   * (`live`). On its return the containers may run on: what they write is not in what `spoolLast` captures. Where the file system shares blocks, large files
   * that changed are cloned and not read. What was frozen before is given up, as by `spoolRound`.
   */
  spoolFreeze(id: string, kind: 'quiet' | 'live', signal: AbortSignal): Promise<void>
  /**
   * Reads what `spoolFreeze` has frozen, and spools it. Answers the capture; its `hash` is the last checkpoint's when nothing differs. TREE_CHANGED when something had
   * to be taken from the tree and is another by now. Nothing is frozen afterwards, also after a failure; HASH_MISMATCH when nothing was.
   */
  spoolLast(id: string, signal: AbortSignal): Promise<Capture>
  /** Gives up what was frozen, and the room it takes. Safe to repeat. */
  spoolThaw(id: string): Promise<void>
  /**
   * Makes what `spoolLast` captured the copy's checkpoint, in place of the former one and its spool; durable on return. From then on other hosts may read
   * it (`spool`). May be repeated. HASH_MISMATCH when it is not what was captured.
   */
  spoolCommit(id: string, checkpoint: Checkpoint): Promise<void>
  /**
   * Puts a tree with writes that the cluster never got aside, under `diverged/`, and leaves the copy empty, at no checkpoint and not held. VOLUME_IN_USE
   * while mounted. Durable on return; a crash in between is finished by `recover`. `bytes`: the size of its files, if known, for people.
   */
  diverge(id: string, at: string, bytes: number | null): Promise<LocalCopy>
  /** Room for volumes on the state directory's file system. */
  space(): Promise<{ freeBytes: number; totalBytes: number }>
  /**
   * Makes the tree equal to the manifest that was staged completely by the last writer: commits a journal, applies it,
   * checks every entry's attributes, sets `checkpoint`. Rejects STAGE_INCOMPLETE when files are missing and
   * HASH_MISMATCH when the staged manifest is not `checkpoint.hash`, VOLUME_IN_USE while held or mounted,
   * TREE_UNSUPPORTED when this file system cannot hold the tree; nothing was touched then. May be repeated after any failure.
   */
  apply(id: string, checkpoint: Checkpoint): Promise<void>
  /**
   * Reads every byte of a copy at rest again and compares it, and every attribute, with the manifest of its last checkpoint. What is
   * found is noted in the record, durably: the copy is then neither mounted nor read (COPY_DAMAGED) until it was pulled
   * again, which brings just the blocks that differ. A copy that was damaged and is whole again loses the mark. Rejects VOLUME_IN_USE while held, mounted or being written to,
   * COPY_DAMAGED while an apply is unfinished, NOT_AT_CHECKPOINT when it was never at one. Changes no data.
   */
  verify(id: string, signal: AbortSignal): Promise<Verification>
  /** Finishes applies that were cut off by a crash (replays from the journal), drops what was never committed. Run once at start. */
  recover(): Promise<void>

  /** Bind-mounts the tree; answers the mountpoint. Safe to repeat: one mount however often it is called. COPY_DAMAGED while an apply is unfinished. */
  mount(id: string): Promise<string>
  /** Unmounts; safe to repeat. VOLUME_BUSY when the kernel says so. */
  unmount(id: string): Promise<void>
  /** Where the volume would be or is mounted. */
  mountpoint(id: string): string
  /** Ids of volumes mounted now, by /proc/self/mountinfo. */
  mounted(): Promise<Set<string>>

  /** Moves the copy to the trash (kept for the retention time). Safe to repeat. VOLUME_IN_USE while mounted, COPY_RUNNING while a writer is open. */
  trash(id: string): Promise<void>
  /**
   * Moves the copy of a removed volume to where nothing deletes it; answers the directory, below the state directory.
   * VOLUME_IN_USE while mounted, COPY_RUNNING while a writer is open. Durable on return.
   */
  setAside(id: string): Promise<string>
  /** What this disk still has of removed volumes, in the trash and set aside. */
  removed(): Promise<RemovedCopy[]>
  /**
   * Deletes what has been in the trash longer than the retention time, counted in this host's uptime: no clock that is
   * set counts. `elapsedMs` is the time since boot. What came since the last call begins to count with this one.
   */
  emptyTrash(elapsedMs: number): Promise<string[]>
  /** Drops staged leftovers of a volume (a copy that was sent ahead and never used). */
  dropStage(id: string): Promise<void>
}

/** The store as the transfer sees it, which works in the same thread. */
export interface TreeStore extends Store {
  /**
   * Opens a tree of a copy for reading.
   * NOT_AT_CHECKPOINT: this host has no such tree. COPY_DAMAGED: the copy must not be read.
   * What `spool` takes from the live tree may have another hash by now: the receiver's check finds it.
   */
  reader(ref: SnapshotRef): Promise<TreeReader>
  /** Opens the staging area. One writer per volume at a time. Creates the copy's directory when missing. */
  writer(volume: { id: string; name: string; options: VolumeOptions }): Promise<TreeWriter>
}
