import { mkdirSync, openSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { fileURLToPath } from 'node:url'
import { run } from './command.ts'

export type EngineVersion = '28.5' | '26.1' | '20.10'

export interface LabEngine {
  readonly version: EngineVersion
  /** Holds usr/bin and usr/sbin with the engine's programs. */
  readonly directory: string
  /** For the environment of everything that runs the engine's programs: these come first. */
  readonly path: string
}

export interface DaemonSettings {
  readonly engine: LabEngine
  readonly directory: string
  /** Where the engine listens: the usual place inside the host, and one that is reachable from outside. */
  readonly sockets: readonly string[]
  readonly registry: string
  readonly controlGroup: string
  readonly liveRestore: boolean
}

const SOCKETS_SCRIPT = fileURLToPath(new URL('engine-sockets.pl', import.meta.url))
const SCRIPT = fileURLToPath(new URL('../scripts/lib/engine', import.meta.url))

/** A question that dockerd has not even accepted is asked again after this long. */
const PING_TIMEOUT_MS = 2_000

/** The engine to test on, from LAB_ENGINE. */
export function chosenEngine(): EngineVersion {
  const chosen = process.env.LAB_ENGINE || '28.5'
  if (chosen !== '28.5' && chosen !== '26.1' && chosen !== '20.10') {
    throw new Error(`LAB_ENGINE=${chosen}: there are 28.5, 26.1 and 20.10.`)
  }
  return chosen
}

/** Brings an engine's programs onto this machine (quick when they are there). */
export async function fetchEngine(version: EngineVersion): Promise<LabEngine> {
  const { stdout } = await run(SCRIPT, [version])
  const directory = stdout.trim()
  return { version, directory, path: `${directory}/usr/sbin:${directory}/usr/bin:${process.env.PATH}` }
}

/**
 * Writes the configuration of one host's containerd and dockerd into its directory; returns their command lines.
 * containerd is a service of its own, as the packages set it up: it outlives a killed dockerd.
 */
export function daemonCommands(settings: DaemonSettings): { containerd: string[]; dockerd: string[] } {
  const { directory, engine } = settings
  mkdirSync(`${directory}/docker`, { recursive: true })
  writeFileSync(`${directory}/containerd.toml`, containerdConfig(directory))
  writeFileSync(`${directory}/daemon.json`, JSON.stringify(dockerdConfig(settings), null, 2))
  return {
    containerd: [`${engine.directory}/usr/bin/containerd`, '--config', `${directory}/containerd.toml`],
    dockerd: [
      ...[SOCKETS_SCRIPT, settings.sockets.join(',')],
      ...[`${engine.directory}/usr/sbin/dockerd`, '--config-file', `${directory}/daemon.json`],
    ],
  }
}

function containerdConfig(directory: string): string {
  // Not needed by Docker, and "opt" would leave a directory in the machine's /opt.
  const unused = ['io.containerd.grpc.v1.cri', 'io.containerd.internal.v1.opt']
  return `version = 2
root = "${directory}/containerd"
state = "/run/containerd"
disabled_plugins = ${JSON.stringify(unused)}
[grpc]
address = "/run/containerd/containerd.sock"
`
}

function dockerdConfig({ directory, registry, engine, controlGroup, liveRestore }: DaemonSettings): object {
  return {
    containerd: '/run/containerd/containerd.sock',
    'data-root': `${directory}/docker`,
    hosts: ['fd://'],
    'storage-driver': 'overlay2',
    'insecure-registries': [registry],
    'cgroup-parent': `/${controlGroup}`,
    'live-restore': liveRestore,
    // 20.10 takes its engine id from a file that all hosts of the lab would share.
    ...(engine.version === '20.10' ? { 'deprecated-key-path': `${directory}/key.json` } : {}),
  }
}

/** Whether an engine responds on its socket. Within seconds: the socket may be there before the engine is. */
export function engineAnswers(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const question = request({ socketPath, path: '/_ping', timeout: PING_TIMEOUT_MS, agent: false }, (answer) => {
      answer.resume()
      resolve(answer.statusCode === 200)
    })
    question.on('timeout', () => question.destroy())
    question.on('error', () => resolve(false))
    question.end()
  })
}

/** Opens a log for a daemon's output, appending: one file for all the lives of a host. */
export function openLog(file: string): number {
  return openSync(file, 'a')
}
