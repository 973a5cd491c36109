import { existsSync, readdirSync, readFileSync, rmdirSync } from 'node:fs'
import { run } from './command.ts'
import { until } from './poll.ts'
import { processesInNamespace } from './processes.ts'
import { type LabRecord, removeRecord } from './record.ts'

/** A process stuck in the kernel (a sync to a slow disk) may take this long to go after SIGKILL. */
const KILL_TIMEOUT_MS = 60_000

/** Removes everything a record names: processes, mounts, namespaces, files, control groups. Safe to repeat. */
export async function takeDown(record: LabRecord): Promise<void> {
  await Promise.all(record.namespaces.map(killNamespace))
  for (const namespace of record.namespaces) await deleteNamespace(namespace)
  await unmountBelow(record.directory)
  await run('rm', ['-rf', '--one-file-system', record.directory])
  removeControlGroups(controlGroupOf(record))
  removeRecord()
}

/** Kills every process of one of the lab's network namespaces and waits until they are gone. Safe to repeat. */
export async function killNamespace(namespace: string): Promise<void> {
  await until(
    `the end of all processes in ${namespace}`,
    () => {
      const left = processesInNamespace(namespace)
      for (const { pid } of left) kill(pid)
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

async function unmountBelow(directory: string): Promise<void> {
  const points = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((point) => point === directory || point.startsWith(`${directory}/`))
  for (const point of points.reverse()) await run('umount', ['--lazy', point], { allowFailure: true })
}

function removeControlGroups(name: string): void {
  const root = '/sys/fs/cgroup'
  const hierarchies = existsSync(`${root}/cgroup.controllers`)
    ? [root]
    : readdirSync(root).map((one) => `${root}/${one}`)
  for (const hierarchy of hierarchies) removeTree(`${hierarchy}/${name}`)
}

function removeTree(directory: string): void {
  if (!existsSync(directory)) return
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    if (entry.isDirectory()) removeTree(`${directory}/${entry.name}`)
  }
  rmdirSync(directory)
}
