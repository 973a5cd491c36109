import { existsSync } from 'node:fs'
import { readdir, readFile, readlink } from 'node:fs/promises'
import { parseMountInfo } from './mounts.ts'

/** Where the plugin has the host's processes (config.json); elsewhere this process sees them by itself. */
const HOST_PROC = existsSync('/host/proc/1') ? '/host/proc' : '/proc'
/** Of open(2): the bits that say how a file was opened; 0 is for reading. */
const ACCESS_MODE = 3

/** A process that keeps a mount from being unmounted. */
export interface MountUser {
  /** As the host counts processes. */
  readonly pid: number
  readonly command: string
  /** It has a file open for writing. */
  readonly writes: boolean
}

/** A mount namespace in which the mount is visible. */
export interface MountPlace {
  /** What setns(2) takes. */
  readonly namespace: string
  readonly mountpoints: readonly string[]
  /** Mounts below it. */
  readonly inner: readonly string[]
}

/** What is known of a mount on this host. */
export interface MountUse {
  readonly places: readonly MountPlace[]
  readonly users: readonly MountUser[]
  /** False: the mount may be visible in a namespace that shows nobody its mounts. */
  readonly isComplete: boolean
}

/**
 * Finds the mounts whose mountpoint is called `name`, in all mount namespaces of the host, and the processes that have
 * something below them open. A process of which nothing may be known is passed over.
 */
export async function findMountUsers(name: string, proc = HOST_PROC): Promise<MountUse> {
  const pids = (await readdir(proc)).filter((entry) => /^[0-9]+$/.test(entry))
  const places = new Map<string, MountPlace>()
  const hidden = new Set<string>()
  const users: MountUser[] = []
  for (const pid of pids) {
    const directory = `${proc}/${pid}`
    const namespace = await readlink(`${directory}/ns/mnt`).catch(() => null)
    if (namespace === null) continue
    const place = places.get(namespace) ?? (await placeOf(directory, name))
    if (place === null) {
      hidden.add(namespace)
      continue
    }
    places.set(namespace, place)
    if (place.mountpoints.length === 0) continue
    const how = await useOf(directory, place)
    if (how !== null) users.push({ pid: Number(pid), command: await commandOf(directory), writes: how === 'writes' })
  }
  const found = [...places.values()].filter(({ mountpoints }) => mountpoints.length > 0)
  return { places: found, users, isComplete: [...hidden].every((namespace) => places.has(namespace)) }
}

/** Null: this process does not tell. It sees the mounts below its own root only (chroot), or it has ended. */
async function placeOf(directory: string, name: string): Promise<MountPlace | null> {
  const root = await readlink(`${directory}/root`).catch(() => null)
  const text = await readFile(`${directory}/mountinfo`, 'latin1').catch(() => '')
  if (root !== '/' || text === '') return null
  const mounts = parseMountInfo(text)
  const all = mounts.map(({ mountpoint }) => mountpoint)
  const mountpoints = all.filter((mountpoint) => mountpoint.endsWith(`/${name}`))
  const inner = all.filter((mountpoint) => mountpoints.some((outer) => mountpoint.startsWith(`${outer}/`)))
  return { namespace: `${directory}/ns/mnt`, mountpoints, inner }
}

/** Null: it does not use the mount. */
async function useOf(directory: string, { mountpoints }: MountPlace): Promise<'reads' | 'writes' | null> {
  const isBelow = (path: string) => mountpoints.some((top) => path === top || path.startsWith(`${top}/`))
  let reads = false
  for (const link of ['cwd', 'root', 'exe']) {
    reads ||= isBelow(await readlink(`${directory}/${link}`).catch(() => ''))
  }
  for (const fd of await readdir(`${directory}/fd`).catch(() => [])) {
    if (!isBelow(await readlink(`${directory}/fd/${fd}`).catch(() => ''))) continue
    reads = true
    const info = await readFile(`${directory}/fdinfo/${fd}`, 'latin1').catch(() => '')
    const flags = Number.parseInt(/^flags:\s*([0-7]+)$/m.exec(info)?.[1] ?? '0', 8)
    if ((flags & ACCESS_MODE) !== 0) return 'writes'
  }
  for (const line of (await readFile(`${directory}/maps`, 'utf8').catch(() => '')).split('\n')) {
    const [, access, , , , ...path] = line.split(/\s+/)
    if (!isBelow(path.join(' ').replace(/ \(deleted\)$/, ''))) continue
    reads = true
    if (access?.[1] === 'w' && access[3] === 's') return 'writes'
  }
  return reads ? 'reads' : null
}

async function commandOf(directory: string): Promise<string> {
  return (await readFile(`${directory}/comm`, 'utf8').catch(() => 'unknown')).trim()
}
