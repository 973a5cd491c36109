import { existsSync, readFileSync, realpathSync } from 'node:fs'
import { basename } from 'node:path'
import type { FileSystemName } from './kernel-part.ts'

const BTF = '/sys/kernel/btf'
const EXT4 = '/sys/fs/ext4'
/** What is there without a journal. */
const NO_TASK = '<none>'
const LOCKDOWN = '/sys/kernel/security/lockdown'

/** Facts of this machine that are read before the kernel is asked for anything. */
export interface Circumstances {
  readonly fileSystem: string
  /** Device of the file system, as stat(2) splits it. */
  readonly major: number
  readonly minor: number
  /** Text of /proc/self/mountinfo. */
  readonly mounts: string
  /** Whether the disk is memory that files may be mapped from without a page cache. */
  readonly isDaxDisk: boolean
  readonly hasBtf: boolean
  readonly hasObject: boolean
}

/** Returns why there can be no tracker here; null: nothing speaks against trying. */
export function reasonAgainst(found: Circumstances): string | null {
  if (!isProven(found.fileSystem))
    return `The file system is ${found.fileSystem}; change tracking is proven on ext4 and XFS only.`
  const options = mountOptions(found.mounts, found.major, found.minor)
  if (options === null) return 'The mount of the state directory is not in /proc/self/mountinfo.'
  if (options.includes('data=journal'))
    return 'The file system is mounted with data=journal: its pages are written another way.'
  if (options.some((option) => /^dax(=always)?$/.test(option)) || (found.isDaxDisk && !options.includes('dax=never')))
    return 'The disk is memory (DAX): files are written without a page cache, and nothing reports it.'
  if (!found.hasBtf)
    return `The kernel does not describe its own types (${BTF}/vmlinux is missing, CONFIG_DEBUG_INFO_BTF).`
  return found.hasObject ? null : 'The BPF program was not built (scripts/lib/build-tracker).'
}

export function isProven(fileSystem: string): fileSystem is FileSystemName {
  return fileSystem === 'ext4' || fileSystem === 'xfs'
}

/** Options of the file system itself, which all its mounts share; null: it is not mounted here. */
function mountOptions(text: string, major: number, minor: number): string[] | null {
  for (const line of text.split('\n')) {
    const fields = line.split(' ')
    // proc_pid_mountinfo(5): third the device, last the options of the file system.
    if (fields[2] === `${major}:${minor}`) return fields.at(-1)?.split(',') ?? []
  }
  return null
}

/** Reads the facts of this machine. Throws what reading /proc throws. */
export function readCircumstances(fileSystem: string, major: number, minor: number, objectPath: string): Circumstances {
  return {
    fileSystem,
    major,
    minor,
    mounts: readFileSync('/proc/self/mountinfo', 'latin1'),
    isDaxDisk: isDaxDisk(major, minor),
    hasBtf: existsSync(`${BTF}/vmlinux`),
    hasObject: existsSync(objectPath),
  }
}

/**
 * Whether the file system writes changes of its inodes to a journal.
 * XFS always does. ext4 names the task that writes its journal under /sys/fs/ext4 (journal_task_show in
 * fs/ext4/sysfs.c). A file system without that information counts as one without a journal.
 */
export function hasJournal(fileSystem: FileSystemName, major: number, minor: number): boolean {
  if (fileSystem === 'xfs') return true
  const device = `/sys/dev/block/${major}:${minor}`
  if (!existsSync(device)) return false
  // Both names are those of kernel objects, which have "!" for "/".
  const task = `${EXT4}/${basename(realpathSync(device))}/journal_task`
  return existsSync(task) && readFileSync(task, 'latin1').trim() !== NO_TASK
}

function isDaxDisk(major: number, minor: number): boolean {
  // A partition's queue is its disk's.
  const device = `/sys/dev/block/${major}:${minor}`
  return [`${device}/queue/dax`, `${device}/../queue/dax`].some(
    (file) => existsSync(file) && readFileSync(file, 'latin1').trim() === '1',
  )
}

/** Whether the running kernel, or the file system's module, has a function of that name. */
export function kernelHas(name: string, fileSystem: FileSystemName): boolean {
  return ['vmlinux', fileSystem].some(
    (module) => existsSync(`${BTF}/${module}`) && readFileSync(`${BTF}/${module}`).includes(`\0${name}\0`),
  )
}

/** Returns what more can be said when the kernel refused; empty when nothing. */
export function lockdownNote(): string {
  if (!existsSync(LOCKDOWN)) return ''
  const [, mode] = /\[(\w+)\]/.exec(readFileSync(LOCKDOWN, 'latin1')) ?? []
  return mode === undefined || mode === 'none' ? '' : ` The kernel is locked down (${mode}).`
}
