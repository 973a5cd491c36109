import { existsSync, globSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { run } from './command.ts'
import { until } from './poll.ts'
import { processesInNamespace, withDescendants } from './processes.ts'
import { type LabRecord, removeRecord } from './record.ts'

/** A process stuck in the kernel (a sync to a slow disk) may take this long to go after SIGKILL. */
const KILL_TIMEOUT_MS = 60_000

/** Removes everything a record names: processes, mounts, namespaces, files, control groups. Safe to repeat. */
export async function takeDown(record: LabRecord): Promise<void> {
  await Promise.all(record.namespaces.map(killNamespace))
  for (const namespace of record.namespaces) await deleteNamespace(namespace)
  await unmountBelow(record.directory)
  const groups = new Set([controlGroupOf(record), ...pluginIds(record.directory)])
  await run('rm', ['-rf', '--one-file-system', record.directory])
  removeControlGroups('/sys/fs/cgroup', groups)
  removeRecord()
}

/** Kills every process of one of the lab's network namespaces and waits until they are gone. Safe to repeat. */
export async function killNamespace(namespace: string): Promise<void> {
  await until(
    `the end of all processes in ${namespace}`,
    () => {
      const left = processesInNamespace(namespace)
      for (const { pid } of left) kill(pid)
      for (const { pid } of withDescendants(left)) thaw(pid)
      return left.length === 0
    },
    { timeoutMs: KILL_TIMEOUT_MS, everyMs: 20 },
  )
}

export async function deleteNamespace(namespace: string): Promise<void> {
  if (existsSync(`/run/netns/${namespace}`)) await run('ip', ['netns', 'delete', namespace])
}

/** Name of the control group that a lab's containers are in, in every hierarchy. */
export function controlGroupOf(record: LabRecord): string {
  return record.directory.slice(record.directory.lastIndexOf('/') + 1)
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // Gone by itself in between.
  }
}

/**
 * What a paused container runs dies of SIGKILL only when it is thawed, with control groups of version 1
 * (freezer-subsystem.txt of the kernel).
 */
function thaw(pid: number): void {
  try {
    const group = /^\d+:freezer:(\/.+)$/m.exec(readFileSync(`/proc/${pid}/cgroup`, 'utf8'))?.[1]
    if (group !== undefined) writeFileSync(`/sys/fs/cgroup/freezer${group}/freezer.state`, 'THAWED')
  } catch {
    // Gone by itself in between, or no such hierarchy here.
  }
}

async function unmountBelow(directory: string): Promise<void> {
  const points = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((point) => point === directory || point.startsWith(`${directory}/`))
  for (const point of points.reverse()) await run('umount', ['--lazy', point], { allowFailure: true })
}

/** Docker gives a plugin a control group of the plugin's id, beside and not below the engine's own. */
function pluginIds(directory: string): string[] {
  return globSync(`${directory}/h*/docker/plugins/*`)
    .map((path) => path.slice(path.lastIndexOf('/') + 1))
    .filter((name) => /^[0-9a-f]{64}$/.test(name))
}

/** Removes control groups of these names wherever they are: the place depends on the group the lab was started in. */
function removeControlGroups(directory: string, names: ReadonlySet<string>): void {
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue
    const path = `${directory}/${entry.name}`
    if (names.has(entry.name)) removeTree(path)
    else removeControlGroups(path, names)
  }
}

function removeTree(directory: string): void {
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    if (entry.isDirectory()) removeTree(`${directory}/${entry.name}`)
  }
  rmdirSync(directory)
}
