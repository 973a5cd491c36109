import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs'

export interface Process {
  readonly pid: number
  readonly parent: number
  /** Arguments joined by blanks; the bare name in brackets when there are none. */
  readonly command: string
}

/**
 * Processes in a named network namespace. The namespaces are made for the lab and nothing else lives in them, so this
 * finds what the lab started and only that, even when the lab's owner is gone.
 */
export function processesInNamespace(namespace: string): Process[] {
  const inode = namespaceInode(namespace)
  // Never the machine's own namespace, should the name's mount be missing.
  if (inode === null || inode === namespaceOf('self')) return []
  return allProcesses().filter(({ pid }) => namespaceOf(pid) === inode)
}

/** `roots` and all that descend from them, as /proc tells now. */
export function withDescendants(roots: readonly Process[]): Process[] {
  const found = new Map(roots.map((root) => [root.pid, root]))
  const all = allProcesses()
  let before = 0
  while (found.size > before) {
    before = found.size
    for (const child of all) if (found.has(child.parent)) found.set(child.pid, child)
  }
  return [...found.values()]
}

function allProcesses(): Process[] {
  const processes: Process[] = []
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    const one = readProcess(Number(entry))
    if (one !== null) processes.push(one)
  }
  return processes
}

function readProcess(pid: number): Process | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The name in the second field may hold blanks and brackets: fields are counted from its last bracket.
    const end = stat.lastIndexOf(')')
    const [state, parent] = stat.slice(end + 2).split(' ')
    if (state === 'Z' || state === 'X') return null
    const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim()
    return { pid, parent: Number(parent), command: command || `[${stat.slice(stat.indexOf('(') + 1, end)}]` }
  } catch {
    return null
  }
}

function namespaceOf(pid: number | 'self'): number | null {
  try {
    return Number(/\[(\d+)\]/.exec(readlinkSync(`/proc/${pid}/ns/net`))?.[1] ?? Number.NaN)
  } catch {
    return null
  }
}

function namespaceInode(namespace: string): number | null {
  try {
    return statSync(`/run/netns/${namespace}`).ino
  } catch {
    return null
  }
}
