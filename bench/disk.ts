import { mkdirSync, readFileSync } from 'node:fs'
import { run } from '../lab/command.ts'

/** Gigabytes end up here: a real disk, never memory. */
const DEFAULT_PLACE = '/var/tmp'
/** Three trees of 100,000 files and what replaces them. */
const INODES = 1_000_000
const PIECE_BYTES = 4 * 1024 ** 2
const FILL_TIMEOUT_MS = 10 * 60_000
/**
 * /sys/block/DEVICE/stat counts in these, whatever the device's own are (Documentation/block/stat.rst of the kernel).
 */
const SECTOR_BYTES = 512
const SECTORS_READ = 2

type FileSystem = 'ext4' | 'btrfs'

const MAKERS: Readonly<Record<FileSystem, readonly string[]>> = {
  ext4: ['mkfs.ext4', '-q', '-m', '0', '-N', String(INODES)],
  btrfs: ['mkfs.btrfs', '-q'],
}
/** ext4 without the thread that goes on making inode tables while we measure. */
const OPTIONS: Readonly<Record<FileSystem, string>> = { ext4: 'noinit_itable', btrfs: 'defaults' }

/** A file system on a loop device. */
export interface Disk {
  readonly place: string
  /** The device's name, as below /sys/block. */
  readonly device: string
}

/** The directory that the bench's scratch directories are made in. */
export function benchPlace(): string {
  return process.env.WHERRY_LAB_DIR ?? DEFAULT_PLACE
}

/**
 * A file system of the bench's own, so that its syncs wait for nobody else's data and the machine's own file system
 * does not matter: an ext4 without a journal, for one, looks at every inode freed in the last minutes before it makes
 * a file (recently_deleted in fs/ext4/ialloc.c), and whoever is measured after a big deletion pays for it.
 */
export async function makeDisk(
  directory: string,
  name: string,
  fileSystem: FileSystem,
  sizeBytes: number,
): Promise<Disk> {
  const image = `${directory}/${name}.img`
  const place = `${directory}/${name}`
  mkdirSync(place)
  // Written in full: the first write to a hole costs more than the second, and some peer would have to pay for it.
  const count = Math.ceil(sizeBytes / PIECE_BYTES)
  const fill = [`of=${image}`, `bs=${PIECE_BYTES}`, `count=${count}`, 'oflag=direct', 'status=none']
  await run('dd', ['if=/dev/zero', ...fill], { timeoutMs: FILL_TIMEOUT_MS })
  const [maker = '', ...flags] = MAKERS[fileSystem]
  await run(maker, [...flags, image], { timeoutMs: FILL_TIMEOUT_MS })
  // Direct: otherwise the page cache has everything twice.
  const { stdout } = await run('losetup', ['--find', '--show', '--direct-io=on', image])
  const device = stdout.trim()
  try {
    await run('mount', ['-o', OPTIONS[fileSystem], device, place])
  } finally {
    // While it is mounted this only says that the device goes with the mount.
    await run('losetup', ['--detach', device])
  }
  return { place, device: device.slice(device.lastIndexOf('/') + 1) }
}

/** What has been read from the device so far: what was in the page cache is not in it. */
export function readBytesOf({ device }: Disk): number {
  const fields = readFileSync(`/sys/block/${device}/stat`, 'utf8').trim().split(/\s+/)
  return Number(fields[SECTORS_READ]) * SECTOR_BYTES
}
