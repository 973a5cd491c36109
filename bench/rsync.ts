import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { run } from '../lab/command.ts'
import { until } from '../lab/poll.ts'
import type { Case, PeerName } from './cases.ts'
import type { BenchGround } from './ground.ts'

/**
 * What a careful user gives rsync to get an exact copy; it is less than Wherry keeps (nanoseconds are, inode flags
 * are not).
 */
export const RSYNC_FLAGS = ['-aHAX', '--numeric-ids', '--delete']
const DAEMON_PORT = 8730
const SSH_PORT = 8022
/** A 20 GiB sparse file read and sent as zeros on a slow machine. */
const TIMEOUT_MS = 30 * 60_000

/** rsync from h1 to h2 in one of the ways people use it. */
export class RsyncPeer {
  readonly name: PeerName
  readonly #ground: BenchGround
  readonly #way: readonly string[]
  readonly #destination: string

  constructor(name: PeerName, ground: BenchGround, way: readonly string[], destination: string) {
    this.name = name
    this.#ground = ground
    this.#way = way
    this.#destination = destination
  }

  /** The receiver's tree. */
  tree(which: Pick<Case, 'name'>): string {
    return `${this.#ground.h2.directory}/${this.name}/${which.name}`
  }

  async empty(which: Pick<Case, 'name'>): Promise<void> {
    await run('rm', ['-rf', this.tree(which)], { timeoutMs: TIMEOUT_MS })
    mkdirSync(this.tree(which), { recursive: true })
  }

  /** Resolves when the receiver has what the source has and it is on disk. */
  async sync(which: Pick<Case, 'name' | 'rsyncFlags'>, source: string): Promise<void> {
    const flags = [...RSYNC_FLAGS, ...which.rsyncFlags, ...this.#way]
    const command = ['rsync', ...flags, `${source}/`, `${this.#destination}/${which.name}/`]
    await this.#ground.h1.exec(command, { timeoutMs: TIMEOUT_MS })
    await run('sync', ['-f', this.tree(which)], { timeoutMs: TIMEOUT_MS })
  }
}

/** rsync's own daemon on h2, without encryption. */
export async function startDaemonPeer(ground: BenchGround): Promise<RsyncPeer> {
  const { directory, address } = ground.h2
  mkdirSync(`${directory}/daemon`)
  const settings = [
    ...['use chroot = no', 'munge symlinks = no', 'uid = root', 'gid = root', 'reverse lookup = no'],
    ...[`address = ${address}`, `port = ${DAEMON_PORT}`],
    ...['[bench]', `path = ${directory}/daemon`, 'read only = no'],
  ]
  writeFileSync(`${directory}/rsyncd.conf`, `${settings.join('\n')}\n`)
  ground.h2.serve('rsyncd', ['rsync', '--daemon', '--no-detach', `--config=${directory}/rsyncd.conf`])
  await listening(ground, DAEMON_PORT)
  return new RsyncPeer('daemon', ground, [], `rsync://${address}:${DAEMON_PORT}/bench`)
}

/** rsync over ssh, a new connection each time, with a server and keys that are thrown away with the ground. */
export async function startSshPeer(ground: BenchGround): Promise<RsyncPeer> {
  const { directory, address } = ground.h2
  mkdirSync(`${directory}/ssh`)
  const key = (name: string) => `${ground.directory}/${name}`
  for (const name of ['host-key', 'user-key'])
    await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key(name)])
  const server = [
    ...[`ListenAddress ${address}`, `Port ${SSH_PORT}`, `HostKey ${key('host-key')}`, 'PidFile none'],
    ...[`AuthorizedKeysFile ${key('user-key.pub')}`, 'StrictModes no', 'PermitRootLogin prohibit-password'],
    // Otherwise a root account without a password counts as locked.
    'UsePAM yes',
  ]
  writeFileSync(key('sshd.conf'), `${server.join('\n')}\n`)
  const hostKey = readFileSync(key('host-key.pub'), 'utf8')
  writeFileSync(key('known-hosts'), `[${address}]:${SSH_PORT} ${hostKey}`)
  const client = [
    ...[`Port ${SSH_PORT}`, 'User root', `IdentityFile ${key('user-key')}`, 'IdentitiesOnly yes'],
    ...[`UserKnownHostsFile ${key('known-hosts')}`, 'StrictHostKeyChecking yes', 'LogLevel ERROR'],
    ...['ControlMaster no', 'ControlPath none'],
  ]
  writeFileSync(key('ssh.conf'), `${client.join('\n')}\n`)
  // The machine's own /run may lack the directory that sshd wants, and is not ours to change.
  const start = `mount -t tmpfs -o mode=755 tmpfs /run; mkdir /run/sshd; exec /usr/sbin/sshd -D -f ${key('sshd.conf')}`
  ground.h2.serve('sshd', ['unshare', '--mount', 'bash', '-euc', start])
  await listening(ground, SSH_PORT)
  return new RsyncPeer('ssh', ground, ['-e', `ssh -F ${key('ssh.conf')}`], `${address}:${directory}/ssh`)
}

/** Resolves when somebody listens on this port of h2. */
export async function listening(ground: BenchGround, port: number): Promise<void> {
  // The port is only reachable from inside the lab's network: asking means a program over there.
  const question = `exec 3<>/dev/tcp/${ground.h2.address}/${port}`
  const ask = () => ground.h1.exec(['bash', '-c', question], { allowFailure: true })
  await until(`port ${port} of h2`, async () => (await ask()).code === 0, { timeoutMs: 10_000, everyMs: 50 })
}
