import type { Manifest } from '../manifest/manifest.ts'

/** What this disk knows of each entry beyond the manifest, by the manifest's indexes; never leaves the host. */
export interface Seen {
  /** Inode number; 0 for a further name of an inode (a link entry). */
  ino(index: number): bigint
  ctimeNs(index: number): bigint
  /** The state behind ctime is final: any later store gives another ctime. */
  clean(index: number): boolean
}

/** Lists of block hashes of a manifest's large files. On disk, not in memory: a terabyte in files of a gigabyte has two gigabytes of them. */
export interface BlockLists {
  /** 32 bytes for each block of large file `index`, checked against the file's hash; null when it is not there or damaged. */
  list(index: number): Promise<Buffer | null>
}

/** A tree of this disk as it was looked at. */
export interface Snapshot {
  readonly manifest: Manifest
  readonly seen: Seen
  readonly lists: BlockLists
}
