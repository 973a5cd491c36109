import { join } from 'node:path'
import { WherryError } from '../model/errors.ts'

/** Paths of files and sockets. Not settings: the manifest binds them inside the managed plugin. */
export interface Paths {
  /** State directory of the agent: volumes, registry, certificates, host id. */
  readonly stateDir: string
  /** Volumes are bind-mounted below this (the manifest's propagatedMount). */
  readonly mountRoot: string
  readonly dockerSocket: string
  readonly pluginSocket: string
  /** The host's /sys/fs/cgroup, all of it. */
  readonly controlGroups: string
  /** Socket of the agent's own API. */
  readonly agentSocket: string
  readonly natsServer: string
}

/**
 * Returns the same paths below another directory, to run plugin and agent outside a container (`--root DIR`).
 * The nats-server is a program of the machine and stays where it is.
 */
export function pathsUnder(root: string): Paths {
  const stateDir = join(root, 'var/lib/wherry')
  return {
    stateDir,
    mountRoot: join(root, 'mnt/wherry'),
    dockerSocket: join(root, 'run/docker.sock'),
    pluginSocket: join(root, 'run/docker/plugins/wherry.sock'),
    controlGroups: join(root, 'host/cgroup'),
    agentSocket: join(stateDir, 'agent.sock'),
    natsServer: '/usr/bin/nats-server',
  }
}

/** Reads `--root DIR` from a program's arguments; "/" without it. Throws SETTING_INVALID for other arguments. */
export function rootOf(args: readonly string[]): string {
  if (args.length === 0) return '/'
  const [flag, dir] = args
  if (args.length === 2 && flag === '--root' && dir?.startsWith('/')) return dir
  throw new WherryError('SETTING_INVALID', `Wrong arguments: ${args.join(' ')}.`, {
    hint: 'The only one is --root DIR with an absolute directory, for example --root /tmp/wherry.',
  })
}
