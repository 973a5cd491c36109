import { closeSync, openSync } from 'node:fs'
import { request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Host } from '../lab/host.ts'
import { busybox } from '../lab/images.ts'
import { Lab } from '../lab/lab.ts'
import { PLUGIN_PROCESSES } from '../lab/plugin-processes.ts'
import { until } from '../lab/poll.ts'
import { agentReady, volumeAt } from './agent.ts'
import type { LabReport, LabSettings } from './lab-report.ts'
import { cpuSecondsOf, pssBytesOf } from './process-figures.ts'
import { type HostAtRest, PARTS, type Part, restReport, type Starts } from './rest-report.ts'

const VOLUMES = ['idle1', 'idle2', 'idle3', 'used']
/** Long enough for what a start leaves to do, and for a garbage collection after it. */
const SETTLE_SECONDS = 60
const MEASURE_SECONDS = 60
const COPY_TIMEOUT_MS = 120_000
/** A pause between starts in which the one before comes to its end. */
const BETWEEN_STARTS_MS = 12_000
/** Shorter than what is measured. */
const POLL_MS = 5

/**
 * Measures memory and CPU of an idle Wherry, and how fast it starts.
 * Three hosts, four volumes with two copies each, one of them in use by a container that writes nothing.
 */
export async function benchRest({ rounds, scale, say }: LabSettings): Promise<LabReport> {
  await using lab = await Lab.start({ swarm: true, log: say })
  await lab.installPlugin()
  await Promise.all(lab.hosts.map(agentReady))
  await makeVolumes(lab)
  say(`volumes are made and copied; measured after ${SETTLE_SECONDS * scale} s`)
  await sleep(SETTLE_SECONDS * scale * 1000)
  const hosts = await measure(lab, MEASURE_SECONDS * scale)
  say('starts')
  return restReport(hosts, await timeStarts(lab.host(2), rounds))
}

async function makeVolumes(lab: Lab): Promise<void> {
  const host = lab.host(1)
  const image = await lab.image(busybox)
  await host.docker(['pull', '--quiet', image])
  for (const volume of VOLUMES) {
    await host.docker(['volume', 'create', '--driver', 'wherry', '--opt', 'copies=2', volume])
    const mount = ['--network', 'none', '--volume', `${volume}:/data`]
    await host.docker(['run', '--rm', ...mount, image, 'dd', 'if=/dev/urandom', 'of=/data/file', 'bs=1M', 'count=4'])
  }
  await host.docker(['run', '--detach', '--network', 'none', '--volume', 'used:/data', image, 'sleep', '3600'])
  for (const volume of VOLUMES) {
    const isCopied = async () =>
      (await volumeAt(host, volume)).copies.filter(({ state }) => state === 'current').length > 1
    await until(`${volume}: two copies`, isCopied, { timeoutMs: COPY_TIMEOUT_MS })
  }
}

async function measure(lab: Lab, seconds: number): Promise<HostAtRest[]> {
  const pids = lab.hosts.map(partsOf)
  const cpu = () => pids.map((parts) => mapParts((part) => cpuSecondsOf(parts[part])))
  const startedMs = performance.now()
  const before = cpu()
  await sleep(seconds * 1000)
  const after = cpu()
  const passedSeconds = (performance.now() - startedMs) / 1000
  return pids.map((parts, index) => ({
    pssBytes: mapParts((part) => pssBytesOf(parts[part])),
    cpuShare: mapParts((part) => ((after[index]?.[part] ?? 0) - (before[index]?.[part] ?? 0)) / passedSeconds),
  }))
}

function partsOf(host: Host): Record<Part, number> {
  return mapParts((part) => {
    const [found, ...more] = host.processes(PLUGIN_PROCESSES[part])
    if (found === undefined || more.length > 0) throw new Error(`${host.name}: not one process is the ${part}`)
    return found.pid
  })
}

function mapParts(value: (part: Part) => number): Record<Part, number> {
  return Object.fromEntries(PARTS.map((part) => [part, value(part)])) as Record<Part, number>
}

async function timeStarts(host: Host, rounds: number): Promise<Starts> {
  const starts = { enable: [] as number[], plugin: [] as number[], agent: [] as number[] }
  for (let round = 1; round <= rounds; round++) {
    await sleep(BETWEEN_STARTS_MS)
    const { pluginSeconds, agentSeconds } = await restartAfterKill(host)
    starts.plugin.push(pluginSeconds)
    starts.agent.push(agentSeconds)
  }
  for (let round = 1; round <= rounds; round++) {
    await host.docker(['plugin', 'disable', '--force', 'wherry'])
    const startedMs = performance.now()
    await host.docker(['plugin', 'enable', '--timeout', '0', 'wherry'])
    starts.enable.push(secondsSince(startedMs))
    await agentReady(host)
  }
  return starts
}

/**
 * Kills the plugin's process, and with it its agent and nats-server. Its socket stays: a call waits for the next
 * process.
 */
async function restartAfterKill(host: Host) {
  const { stdout } = await host.docker(['plugin', 'inspect', '--format', '{{.Id}}', 'wherry'])
  const root = host.stateSeen.slice(0, -host.stateDir.length)
  // Through a descriptor: a path of a socket ends after 107 bytes (unix(7)).
  const directory = openSync(`${root}/run/docker/plugins/${stdout.trim()}`, 'r')
  const agentSocket = `${host.stateSeen}/agent.sock`
  const killedMs = performance.now()
  host.kill(partsOf(host).plugin)
  const untilReply = async (socketPath: string, method: string, path: string) => {
    await until(`${host.name}: ${path}`, () => replies(socketPath, method, path), { everyMs: POLL_MS })
    return secondsSince(killedMs)
  }
  const [pluginSeconds, agentSeconds] = await Promise.all([
    untilReply(`/proc/self/fd/${directory}/wherry.sock`, 'POST', '/Plugin.Activate'),
    untilReply(agentSocket, 'GET', '/health'),
  ]).finally(() => closeSync(directory))
  return { pluginSeconds, agentSeconds }
}

/** Whether a request is replied to, with whatever status. Rejects when nobody listens. */
function replies(socketPath: string, method: string, path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const call = request({ socketPath, method, path, agent: false }, (response) => {
      response.resume()
      resolve(true)
    })
    call.on('error', reject)
    call.end()
  })
}

function secondsSince(startedMs: number): number {
  return (performance.now() - startedMs) / 1000
}
