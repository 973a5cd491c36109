import { execFileSync } from 'node:child_process'

/** Id of the quota group of the first subvolume that is made. */
const FIRST_SUBVOLUME = '0/256'

/**
 * Makes the first subvolume of a btrfs, at `path`; returns what sets its quota.
 * Root is bound by it too. statfs, which finds the space before a copy, does not know of it: as with a user's quota
 * on other file systems.
 */
export function quotaOf(disk: string, path: string): (mebibytes: number) => void {
  execFileSync('btrfs', ['subvolume', 'create', path], { stdio: 'ignore' })
  execFileSync('btrfs', ['quota', 'enable', disk])
  // Through the root: where a quota is used up, it cannot be raised from within.
  return (mebibytes) => execFileSync('btrfs', ['qgroup', 'limit', `${mebibytes}M`, FIRST_SUBVOLUME, disk])
}
