import { closeSync, openSync, readSync, writeSync } from 'node:fs'
import { access, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { WherryError } from '../model/errors.ts'
import { errnoOf } from '../sys/failure.ts'
import { OpenGuard } from '../sys/open-guard.ts'
import type { FreezerFile, FreezerFiles, FreezerState } from './freezer.ts'

/** Control groups that a search visits at most; no host seen so far has as many. */
const MAX_GROUPS = 50_000
/** A container's full id. It is the only proof that a group is the container's. */
const CONTAINER_ID = /^[0-9a-f]{64}$/
/** How long a process that opens a guarded file waits at most. */
const GUARD_POLL_MS = 1
const STATE_BYTES = 32

interface Version {
  /** The directory of its hierarchy, below the root. */
  readonly directory: string
  readonly file: string
  readonly frozen: string
  readonly thawed: string
}

/**
 * Control groups v1 and v2.
 * Source: the kernel's admin-guide, cgroup-v1/freezer-subsystem.rst and cgroup-v2.rst ("cgroup.freeze").
 */
const VERSIONS: readonly Version[] = [
  { directory: 'freezer', file: 'freezer.state', frozen: 'FROZEN', thawed: 'THAWED' },
  { directory: '', file: 'cgroup.freeze', frozen: '1', thawed: '0' },
]

/**
 * Opens the freezers of this host's containers, below `root` (the host's /sys/fs/cgroup).
 * A container's group is the one with the id in its name, wherever it is: below /docker, system.slice or what
 * `--cgroup-parent` says.
 */
export function openFreezerFiles(root: string): FreezerFiles {
  const known = new Map<string, string>()
  return {
    async open(container) {
      if (!CONTAINER_ID.test(container)) throw unreachable(container, root, 'this is not a container id')
      const found = known.get(container)
      const file = found === undefined ? null : openIn(found)
      if (file !== null) return file
      const group = await findGroup(root, container)
      if (group === null) throw unreachable(container, root, 'it has no control group there')
      known.set(container, group)
      try {
        return openIn(group) ?? gone
      } catch (error) {
        throw unreachable(container, root, `${group}: ${errnoOf(error) ?? String(error)}`)
      }
    },
    forget(containers) {
      const stay = new Set(containers)
      for (const container of known.keys()) if (!stay.has(container)) known.delete(container)
    },
    guard(files, onOpen) {
      const guard = OpenGuard.over(files.flatMap(({ path }) => (path === '' ? [] : [path])))
      if (guard === null) return null
      const timer = setInterval(() => {
        if (guard.isKnockedAt) onOpen()
      }, GUARD_POLL_MS)
      return {
        [Symbol.dispose]() {
          clearInterval(timer)
          guard[Symbol.dispose]()
        },
      }
    },
  }
}

/** The freezer of a container that ended during the search. */
const gone: FreezerFile = {
  path: '',
  state: () => 'gone',
  set: () => {},
  [Symbol.dispose]: () => {},
}

/** Opens a group's freezer; null: the group is gone. It stays open, because a guard blocks who opens it later. */
function openIn(group: string): FreezerFile | null {
  for (const { file, frozen, thawed } of VERSIONS) {
    const path = join(group, file)
    const fd = openNow(path)
    if (fd === null) continue
    const events = file === 'cgroup.freeze' ? openNow(join(group, 'cgroup.events'), 'r') : null
    const state = (): FreezerState => {
      const text = readNow(fd)
      if (text === null) return 'gone'
      if (events === null) return text === 'FREEZING' ? 'freezing' : text === frozen ? 'frozen' : 'thawed'
      if (text !== frozen) return 'thawed'
      const eventsText = readNow(events)
      return eventsText === null ? 'gone' : /^frozen 1$/m.test(eventsText) ? 'frozen' : 'freezing'
    }
    return {
      path,
      state,
      set(on) {
        try {
          writeSync(fd, on ? frozen : thawed, 0)
        } catch (error) {
          if (errnoOf(error) !== 'ENODEV') throw error
        }
      },
      [Symbol.dispose]() {
        closeSync(fd)
        if (events !== null) closeSync(events)
      },
    }
  }
  return null
}

function openNow(path: string, flags = 'r+'): number | null {
  try {
    return openSync(path, flags)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENODEV') return null
    throw error
  }
}

/** Reads a state file; null: the group is gone. */
function readNow(fd: number): string | null {
  const into = Buffer.alloc(STATE_BYTES)
  try {
    return into.toString('latin1', 0, readSync(fd, into, 0, STATE_BYTES, 0)).trim()
  } catch (error) {
    if (errnoOf(error) === 'ENODEV') return null
    throw error
  }
}

/** Finds the container's group that is nearest to the root; null: there is none. */
async function findGroup(root: string, container: string): Promise<string | null> {
  for (const { directory } of VERSIONS) {
    const top = join(root, directory)
    if (directory === '' && !(await isThere(join(root, 'cgroup.controllers')))) continue
    let level = [top]
    for (let visited = 0; level.length > 0 && visited <= MAX_GROUPS; ) {
      const next: string[] = []
      for (const parent of level) {
        for (const name of await groupsIn(parent)) {
          if (name.includes(container)) return join(parent, name)
          next.push(join(parent, name))
        }
      }
      visited += next.length
      level = next
    }
  }
  return null
}

async function groupsIn(parent: string): Promise<string[]> {
  try {
    return (await readdir(parent, { withFileTypes: true })).flatMap((entry) =>
      entry.isDirectory() ? [entry.name] : [],
    )
  } catch (error) {
    // Groups come and go.
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENODEV') return []
    throw error
  }
}

async function isThere(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  )
}

function unreachable(container: string, root: string, why: string): WherryError {
  return new WherryError(
    'FREEZER_UNREACHABLE',
    `Container ${container.slice(0, 12)} cannot be frozen for a checkpoint through ${root} (${why}).`,
    {
      hint:
        "Mount the host's /sys/fs/cgroup into the plugin (docker plugin set ... cgroup.source=PATH), " +
        'or create the volume with consistency=live.',
    },
  )
}
