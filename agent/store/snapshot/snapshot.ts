import type { Manifest } from '../manifest/manifest.ts'

/**
 * What this disk knows of each entry beyond the manifest, by the manifest's indexes.
 * It never leaves the host.
 */
export interface InodeStateView {
  /** Inode number; 0 for a further name of an inode (a link entry). */
  ino(index: number): bigint
  ctimeNs(index: number): bigint
  /** The state behind the ctime is final: any later store gives another ctime. */
  clean(index: number): boolean
}

/**
 * Lists of block hashes of a manifest's large files, on disk.
 * In memory they would be too large: two gigabytes for a terabyte in files of a gigabyte.
 */
export interface BlockLists {
  /**
   * Returns 32 bytes for each block of large file `index`, checked against the file's hash.
   * Null: the list is missing or damaged.
   */
  list(index: number): Promise<Buffer | null>
}

/** A tree of this disk as it was scanned. */
export interface Snapshot {
  readonly manifest: Manifest
  readonly seen: InodeStateView
  readonly lists: BlockLists
}
