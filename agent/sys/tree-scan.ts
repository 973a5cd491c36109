import {
  closeSync,
  constants,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
} from 'node:fs'
import { join, relative } from 'node:path'
import { errnoOf } from './failure.ts'
import { isReadOnlyAt } from './file-system.ts'
import { type MountInfo, parseMountInfo } from './mounts.ts'
import { commandOf, containerOf, linkIn, type MappedFile, mappedFiles, openFiles, orNull } from './process-files.ts'
import { cachedStat } from './stat.ts'

/** File of the kernel's NFS client; each network namespace has it once the client is loaded (fs/nfs/client.c). */
const NFS_SERVERS = '/proc/net/nfsfs/servers'

/** A process that has a file of a tree open. */
export interface TreeUser {
  /** Its process id on the host. */
  readonly pid: number
  readonly command: string
  /** First twelve digits of its container's id, as Docker shows it; null: it is in no container. */
  readonly container: string | null
  /** It can write to the tree even after all mounts have become read-only. */
  readonly writes: boolean
}

/** A mount namespace in which a tree, or a part of it, is mounted. */
export interface MountPlace {
  /** Path for setns(2). */
  readonly namespace: string
  readonly mountpoints: readonly string[]
  /** Those that are not read-only and can be reached by their path. */
  readonly writable: readonly string[]
  /** Those that are not read-only and are hidden below another mount. */
  readonly covered: readonly string[]
  /** Mounts below them. */
  readonly inner: readonly string[]
}

/** The users of a tree on this host, and the mounts they use. */
export interface TreeUse {
  readonly places: readonly MountPlace[]
  readonly users: readonly TreeUser[]
  /**
   * False: the scan may have missed a user.
   * A namespace may hide its mounts, or a process may not be inspected, or did not let itself be inspected.
   */
  readonly isComplete: boolean
  /** Processes that did not let themselves be inspected. */
  readonly passedOver: readonly number[]
}

/** A directory tree as the kernel knows it, independent of its mountpoint. */
interface Tree {
  /** Its path in this process's namespace. */
  readonly directory: string
  readonly dev: string
  readonly ino: number
  /** Its file system as in mountinfo, and its path within that. */
  readonly device: string
  readonly root: string
}

interface Namespace {
  readonly place: MountPlace
  readonly mounts: readonly MountInfo[]
}

/** The findings about processes that have a file of `tree` open. */
interface Search {
  readonly tree: Tree
  /** All mounts of all namespaces that show theirs, by id. */
  readonly mounts: ReadonlyMap<number, MountInfo>
  /** Whether the NFS client is loaded. Without it no working directory can keep the caller waiting. */
  readonly hasNfs: boolean
}

/** What to inspect, and how. */
export interface TreeScan {
  readonly directory: string
  /** Directory with the host's processes. */
  readonly proc: string
  /** Processes whose open files are not inspected, because they would keep the caller waiting. */
  readonly passedOver: readonly number[]
}

/**
 * Scans for `findTreeUse`.
 * Occupies its thread until it has a result, which a process may delay for ever. `asking` names the process before
 * each question to the kernel.
 */
export function scanTreeUse({ directory, proc, passedOver }: TreeScan, asking: (pid: number) => void): TreeUse {
  const tree = orNull(() => identify(directory))
  if (tree === null) return { places: [], users: [], isComplete: true, passedOver: [] }
  const own = linkIn(proc, 'self')
  const pids = readdirSync(proc).filter((entry) => /^[0-9]+$/.test(entry))
  const namespaces = new Map<string, Namespace>()
  const hidden = new Set<string>()
  const namespaceOf = new Map<string, string>()
  for (const pid of pids) {
    const name = namespaceNameOf(proc, pid, hidden)
    if (name === null) continue
    namespaceOf.set(pid, name)
    if (namespaces.has(name)) continue
    const found = readNamespace(`${proc}/${pid}`, tree)
    if (found === null) hidden.add(name)
    else namespaces.set(name, found)
  }
  const mounts = new Map([...namespaces.values()].flatMap((known) => known.mounts.map((mount) => [mount.id, mount])))
  const search = { tree, mounts, hasNfs: existsSync(NFS_SERVERS) }
  const users: TreeUser[] = []
  const unasked = pids.filter((pid) => passedOver.includes(Number(pid)))
  for (const pid of pids) {
    if (pid === own || unasked.includes(pid)) continue
    const ask = () => asking(Number(pid))
    ask()
    const at = `${proc}/${pid}`
    const how = useOf(search, at, namespaces.get(namespaceOf.get(pid) ?? '') ?? null, ask)
    if (how !== null)
      users.push({ pid: Number(pid), command: commandOf(at), container: containerOf(at), writes: how === 'writes' })
  }
  const places = [...namespaces.values()].map(({ place }) => place).filter(({ mountpoints }) => mountpoints.length > 0)
  const isComplete = unasked.length === 0 && [...hidden].every((name) => namespaces.has(name))
  return { places, users, isComplete, passedOver: unasked.map(Number) }
}

/** Null: the process has ended, or may not be inspected; its namespace then counts as hidden. */
function namespaceNameOf(proc: string, pid: string, hidden: Set<string>): string | null {
  try {
    return readlinkSync(`${proc}/${pid}/ns/mnt`)
  } catch (error) {
    // The first process is in the machine's own namespace, as many are.
    if (pid !== '1' && errnoOf(error) === 'EACCES') hidden.add(`that of process ${pid}`)
    return null
  }
}

function identify(directory: string): Tree {
  const { dev, ino } = cachedStat(directory)
  const path = realpathSync(directory)
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    const id = /^mnt_id:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))?.[1]
    const mounts = parseMountInfo(readFileSync('/proc/self/mountinfo', 'latin1'))
    const mount = mounts.find((one) => one.id === Number(id))
    if (mount === undefined) throw new Error(`the mount of ${path} is not to be seen`)
    return { directory: path, dev, ino, device: mount.device, root: within(mount, path) }
  } finally {
    closeSync(fd)
  }
}

/** Null: this process does not show its mounts: it sees only those below its own root (chroot), or it has ended. */
function readNamespace(directory: string, tree: Tree): Namespace | null {
  const text = orNull(() => readFileSync(`${directory}/mountinfo`, 'latin1')) ?? ''
  if (linkIn(directory, 'root') !== '/' || text === '') return null
  const mounts = parseMountInfo(text)
  const ofTree = mounts.filter((mount) => isOfTree(mount, tree))
  const open = ofTree.filter(({ isReadOnly }) => !isReadOnly)
  const covered = open.filter((mount) => isCovered(mount, mounts))
  const inner = mounts.filter((mount) => ofTree.some((outer) => mount !== outer && isInside(mount, outer)))
  const place = {
    namespace: `${directory}/ns/mnt`,
    mountpoints: pathsOf(ofTree),
    writable: pathsOf(open.filter((mount) => !covered.includes(mount))),
    covered: pathsOf(covered),
    inner: pathsOf(inner),
  }
  return { place, mounts }
}

/**
 * Tells whether a mountpoint leads to another mount: one on top, one on top of a parent, or one around it.
 * `above`: the mounts on the way.
 */
function isCovered(mount: MountInfo, mounts: readonly MountInfo[], above: MountInfo | null = null): boolean {
  const covers = (other: MountInfo) =>
    other.mountpoint === mount.mountpoint
      ? other.parent === mount.id
      : other.parent === mount.parent && isBelow(mount.mountpoint, other.mountpoint)
  if (mounts.some((other) => other !== above && covers(other))) return true
  const below = mounts.find(({ id }) => id === mount.parent && id !== mount.id)
  return below !== undefined && isCovered(below, mounts, mount)
}

function useOf(
  search: Search,
  directory: string,
  namespace: Namespace | null,
  asking: () => void,
): 'reads' | 'writes' | null {
  const { tree, mounts } = search
  let reads = false
  for (const { link, path, mountId, ino, isWritable } of openFiles(directory)) {
    asking()
    const mount = mounts.get(mountId)
    if (mount === undefined) {
      const kind = ino === null ? null : kindInTree(tree, path, ino)
      if (kind === 'file' ? isWritable : kind === 'directory' && canWriteAt(`${directory}/${link}`)) return 'writes'
      continue
    }
    if (mount.device !== tree.device) continue
    if (isOfTree(mount, tree)) reads = true
    else if (!isWritable || !isBelow(within(mount, path), tree.root) || isDeleted(path)) continue
    if (isWritable) return 'writes'
  }
  const tops = namespace?.place.mountpoints ?? []
  for (const link of ['cwd', 'root', 'exe']) {
    const path = linkIn(directory, link)
    if (path === null) continue
    if (tops.some((top) => isBelow(path, top))) reads = true
    else if (link !== 'exe' && isAtDetached(search, `${directory}/${link}`, path, namespace)) return 'writes'
  }
  for (const file of mappedFiles(directory)) {
    const isMounted = tops.some((top) => isBelow(file.path, top))
    if (file.isWritable && (isMounted || isMapped(search, file, namespace))) return 'writes'
    reads ||= isMounted
  }
  return reads ? 'reads' : null
}

/**
 * Tells whether a directory of the tree is in use through a mount that is in no namespace any more.
 * No one can make such a mount read-only.
 */
function isAtDetached({ tree, hasNfs }: Search, link: string, path: string, namespace: Namespace | null): boolean {
  // An NFS server that does not respond would delay whoever inspects a directory of it.
  if (hasNfs) return false
  const mount = namespace === null ? null : mountOf(namespace, path)
  if (mount !== null && mount.device === tree.device && isBelow(within(mount, path), tree.root)) return false
  const found = orNull(() => cachedStat(link))
  return found?.dev === tree.dev && kindInTree(tree, path, found.ino) === 'directory' && canWriteAt(link)
}

/** An earlier scan may have made the mount read-only before it was detached. */
function canWriteAt(link: string): boolean {
  return orNull(() => isReadOnlyAt(link)) === false
}

function isMapped({ tree }: Search, { path, device, ino }: MappedFile, namespace: Namespace | null): boolean {
  if (device !== tree.device || isDeleted(path)) return false
  const mount = namespace === null ? null : mountOf(namespace, path)
  if (mount !== null && mount.device === device && isBelow(within(mount, path), tree.root)) return true
  return kindInTree(tree, path, ino) === 'file'
}

/** Returns the path of an inode within the tree, by a path whose end leads there; null: it is not part of the tree. */
function kindInTree(tree: Tree, path: string, ino: number): 'file' | 'directory' | null {
  for (const tail of tailsOf(path)) {
    const found = orNull(() => cachedStat(join(tree.directory, tail)))
    if (found?.ino === ino && found.dev === tree.dev) return found.kind === 'dir' ? 'directory' : 'file'
  }
  return null
}

/** Yields a path, and what remains of it without its first names. */
function tailsOf(path: string): string[] {
  const names = path.split('/').filter((name) => name !== '')
  return Array.from({ length: Math.max(1, names.length) }, (_, left) => names.slice(left).join('/'))
}

/** Returns the mount that a path of a namespace leads to. */
function mountOf({ mounts }: Namespace, path: string): MountInfo | null {
  return mounts.filter(({ mountpoint }) => isBelow(path, mountpoint)).reduce<MountInfo | null>(deeper, null)
}

function deeper(deepest: MountInfo | null, other: MountInfo): MountInfo {
  return deepest !== null && deepest.mountpoint.length > other.mountpoint.length ? deepest : other
}

function isOfTree({ device, root }: MountInfo, tree: Tree): boolean {
  return device === tree.device && isBelow(root, tree.root)
}

/** Returns where a path lies in the mount's file system. */
function within({ root, mountpoint }: MountInfo, path: string): string {
  return join(root, relative(mountpoint, path))
}

function isInside(mount: MountInfo, outer: MountInfo): boolean {
  return mount.mountpoint !== outer.mountpoint && isBelow(mount.mountpoint, outer.mountpoint)
}

function isBelow(path: string, top: string): boolean {
  return path === top || top === '/' || path.startsWith(`${top}/`)
}

/** A file without a name belongs to no tree. */
function isDeleted(path: string): boolean {
  return path.endsWith(' (deleted)')
}

function pathsOf(mounts: readonly MountInfo[]): string[] {
  return mounts.map(({ mountpoint }) => mountpoint)
}
