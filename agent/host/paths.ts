import { join } from 'node:path'
import { WherryError } from '../model/errors.ts'

/** Where things are. Not settings: inside the managed plugin these never change, the manifest binds them. */
export interface Paths {
  /** Everything the agent keeps: volumes, registry, certificates, its own id. */
  readonly stateDir: string
  /** Volumes are bind-mounted below this (the manifest's propagatedMount). */
  readonly mountRoot: string
  readonly dockerSocket: string
  readonly pluginSocket: string
  /** The host's /sys/fs/cgroup, all of it. */
  readonly controlGroups: string
  /** The agent's own API. */
  readonly agentSocket: string
  readonly natsServer: string
}

/**
 * The same paths below another directory, so that plugin and agent can run outside a container (`--root DIR`). The
 * nats-server is a program of the machine and stays where it is.
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

/** The `--root DIR` of a program's arguments; "/" without it. Throws SETTING_INVALID for any other argument. */
export function rootOf(args: readonly string[]): string {
  if (args.length === 0) return '/'
  const [flag, dir] = args
  if (args.length === 2 && flag === '--root' && dir?.startsWith('/')) return dir
  throw new WherryError('SETTING_INVALID', `Wrong arguments: ${args.join(' ')}.`, {
    hint: 'The only one is --root DIR with an absolute directory, for example --root /tmp/wherry.',
  })
}
