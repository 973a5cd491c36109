import type { Checkpoint, VolumeOptions } from '../model/model.ts'
import type { DamagedCopy, LocalCopy, RemovedCopy } from './local-copy.ts'
import type { SnapshotRef, TreeReader, TreeWriter } from './tree-contract.ts'

export type {
  DamagedCopy,
  DivergedTree,
  LocalCopy,
  RecordMark,
  RemovedCopy,
  UseGround,
  UseMarks,
} from './local-copy.ts'

/** One round of a checkpoint while the volume is held. */
export interface SpoolRound {
  /** False: nothing differs from the copy's last checkpoint. */
  readonly changed: boolean
  /** Bytes of content that were read because they could have changed since the round before. */
  readonly bytesRead: number
  /** How many of them were copied into the spool. */
  readonly bytesSpooled: number
  /** Null: the tracker knew what had changed. Else: why changed files had to be read whole. */
  readonly scanned: string | null
}

/** `quiet`: nobody writes to the tree. `live`: the tree is in use. */
export type CaptureMode = 'quiet' | 'live'

export interface Capture {
  readonly hash: string
  readonly bytes: number
  readonly files: number
  /** How many files were read because they could have changed. The others were recognised as unchanged. */
  readonly filesRead: number
  /** Sum of their sizes. */
  readonly bytesRead: number
}

/** One file or directory of a copy that is not what the copy's manifest says. */
export interface Damage {
  /** For operators to read: bytes that are not UTF-8 are replaced. */
  readonly path: string
  /**
   * `content`: bytes differ. `attributes`: mode, owner, time, flags or extended attributes differ.
   * `kind`: something else is there.
   */
  readonly reason: 'missing' | 'extra' | 'kind' | 'content' | 'attributes' | 'unreadable'
  /**
   * `attributes`: how mode, owner, time or flags differ, for operators.
   * Null: only others do, such as xattrs.
   */
  readonly detail: string | null
  /** How many of its blocks differ; 0 for what has no content. */
  readonly blocks: number
}

/** Result of reading a copy again. */
export interface Verification {
  readonly filesChecked: number
  readonly bytesRead: number
  /** The first damaged entries, in tree order. */
  readonly damaged: readonly Damage[]
  /** How many damaged entries there are in all. */
  readonly damagedCount: number
}

/**
 * The copies on this disk, each under `<state>/volumes/<id>/`. Knows no network and no registry.
 * Arguments and results can be cloned: the store works in another thread (agent/mover).
 */
export interface Store {
  /**
   * Reads all copies on this disk.
   * A directory that cannot be understood is reported in `damaged` and never touched.
   */
  copies(): Promise<{ copies: LocalCopy[]; damaged: DamagedCopy[] }>
  copy(id: string): Promise<LocalCopy | null>
  /** Makes an empty copy (no checkpoint). Safe to repeat. Durable on return. */
  create(volume: { id: string; name: string; options: VolumeOptions }): Promise<LocalCopy>
  /**
   * Changes fields of `volume.json`.
   * Durable on return (temp file, fsync, rename, fsync of the directory).
   */
  update(id: string, change: Partial<Omit<LocalCopy, 'id'>>): Promise<LocalCopy>

  /**
   * Reads the tree into a manifest and saves it. Synced to disk on return.
   * `quiet`: nobody may write now; rejects TREE_CHANGED when the tree changes meanwhile.
   * `live`: the tree is in use; entries that vanish or change meanwhile are left out or inexact.
   * A live capture serves to pre-seed only, and does not replace the manifest of the last checkpoint.
   * Unchanged files are recognised by the syncfs-and-T rule (design) and not read again.
   * A quiet capture of an idle copy sets and clears its `damaged`.
   */
  capture(id: string, mode: CaptureMode, signal: AbortSignal): Promise<Capture>
  /**
   * As a quiet capture, but saves nothing in the state directory, which may be read-only.
   * Reads everything.
   * The result can be read (SnapshotRef `aside`) until the next one, or until this process ends.
   */
  captureAside(id: string, signal: AbortSignal): Promise<Capture>
  /** Writes a small file into the state directory, and syncs it. Rejects with the system call's error. */
  probe(): Promise<void>
  /**
   * Runs one pre-copy round of a held volume's checkpoint while its containers run. Nothing is durable.
   * Reads what may have changed, and copies what differs from the last checkpoint into the spool.
   * The last round finds little left then. Spooled content counts only if its hash still fits.
   * CHANGES_MISSED: the tracker was found wrong. Its reports no longer count, and the next round reads everything.
   * The checkpoints since the agent's start may then lack something.
   */
  spoolRound(id: string, signal: AbortSignal): Promise<SpoolRound>
  /**
   * Scans the tree for the last time before a checkpoint. Afterwards the containers may run again.
   * `quiet`: nobody may write during the scan; TREE_CHANGED otherwise, and the call may be repeated.
   * `live`: as exact as a scan of a tree in use can be.
   * What containers write after the return is not in what `spoolLast` captures.
   * Where the file system shares blocks, large changed files are cloned and not read.
   * Drops what was frozen before, as `spoolRound` does.
   */
  spoolFreeze(id: string, mode: CaptureMode, signal: AbortSignal): Promise<void>
  /**
   * Reads and spools what `spoolFreeze` has frozen; returns the capture.
   * Nothing is frozen afterwards, even on failure.
   * Its `hash` is the last checkpoint's when nothing differs.
   * TREE_CHANGED: something had to be read from the tree and has changed since. HASH_MISMATCH: nothing was frozen.
   */
  spoolLast(id: string, signal: AbortSignal): Promise<Capture>
  /** Drops what was frozen and frees its space. May be repeated. */
  spoolThaw(id: string): Promise<void>
  /**
   * Makes what `spoolLast` captured the copy's checkpoint. May be repeated. Durable on return.
   * It replaces the former checkpoint and its spool. From then on other hosts may read it (SnapshotRef `spool`).
   * HASH_MISMATCH: the checkpoint is not what was captured.
   */
  spoolCommit(id: string, checkpoint: Checkpoint): Promise<void>
  /**
   * Sets the tree aside under `diverged/`, and leaves the copy empty, at no checkpoint and not held.
   * For writes that never reached the cluster. `bytes`: the size of its files, if known, for operators.
   * VOLUME_IN_USE while mounted. Durable on return; after a crash `recover` finishes it.
   */
  diverge(id: string, at: string, bytes: number | null): Promise<LocalCopy>
  /** Returns the space for volumes on the state directory's file system. */
  space(): Promise<{ freeBytes: number; totalBytes: number }>
  /**
   * Makes the tree equal to the completely staged manifest and sets `checkpoint`.
   * May be repeated after any failure.
   * Commits a journal, applies it and checks every entry's attributes.
   * STAGE_INCOMPLETE: files are missing. HASH_MISMATCH: the staged manifest is not `checkpoint.hash`.
   * VOLUME_IN_USE: held or mounted. TREE_UNSUPPORTED: this file system cannot hold the tree.
   * With these four nothing was touched.
   */
  apply(id: string, checkpoint: Checkpoint): Promise<void>
  /**
   * Reads every byte and attribute of an idle copy again, and compares them with its last checkpoint's manifest.
   * Changes no data. The result is noted in the record, durably.
   * A damaged copy is neither mounted nor read (COPY_DAMAGED) until it is pulled again, which brings only the
   * blocks that differ. A copy that was damaged and is whole again loses the mark.
   * VOLUME_IN_USE: held, mounted or being written to. COPY_DAMAGED: an apply is unfinished.
   * NOT_AT_CHECKPOINT: the copy never was at a checkpoint.
   */
  verify(id: string, signal: AbortSignal): Promise<Verification>
  /**
   * Finishes applies that a crash has cut off (from the journal), and drops what was never committed.
   * Call it once, at start.
   */
  recover(): Promise<void>

  /**
   * Bind-mounts the tree; returns the mountpoint.
   * May be repeated: there is one mount however often it is called.
   * COPY_DAMAGED: an apply is unfinished, or the tree was found damaged.
   */
  mount(id: string): Promise<string>
  /** Unmounts the tree. May be repeated. VOLUME_BUSY: the kernel refuses because it is in use. */
  unmount(id: string): Promise<void>
  /** Returns where the volume would be or is mounted. */
  mountpoint(id: string): string
  /** Returns the ids of mounted volumes, from /proc/self/mountinfo. */
  mounted(): Promise<Set<string>>

  /**
   * Moves the copy to the trash, where it stays for the retention time. May be repeated.
   * VOLUME_IN_USE: mounted. COPY_RUNNING: a writer is open.
   */
  trash(id: string): Promise<void>
  /**
   * Moves the copy of a removed volume to where nothing deletes it.
   * Returns its place below the state directory.
   * VOLUME_IN_USE: mounted. COPY_RUNNING: a writer is open. Durable on return.
   */
  setAside(id: string): Promise<string>
  /** Lists the copies of removed volumes on this disk, in the trash and set aside. */
  removed(): Promise<RemovedCopy[]>
  /**
   * Deletes what has been in the trash longer than the retention time; returns the names.
   * Time counts in this host's uptime, never by a clock that can be set. `elapsedMs`: since boot.
   * What came since the last call begins to count with this one.
   */
  emptyTrash(elapsedMs: number): Promise<string[]>
  /** Drops what is staged of a volume: a pre-seeded copy that was never used. */
  dropStage(id: string): Promise<void>
}

/** The store as the transfer uses it, in the same thread. */
export interface TreeStore extends Store {
  /**
   * Opens a tree of a copy for reading.
   * NOT_AT_CHECKPOINT: this host has no such tree. COPY_DAMAGED: the copy must not be read.
   * What `spool` takes from the live tree may have another hash by now: the receiver's check finds it.
   */
  reader(ref: SnapshotRef): Promise<TreeReader>
  /**
   * Opens the staging area of a copy, and creates its directory when missing.
   * COPY_RUNNING: a writer is open.
   */
  writer(volume: { id: string; name: string; options: VolumeOptions }): Promise<TreeWriter>
}
