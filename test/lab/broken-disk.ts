import { writeFile } from 'node:fs/promises'
import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type CommandResult, run } from '../../lab/command.ts'
import type { Host } from '../../lab/host.ts'
import { until } from '../../lab/poll.ts'
import { type LabGround, shell } from './fixture.ts'

const WHERRY = fileURLToPath(new URL('../../cli/wherry.ts', import.meta.url))
const COUNT = 'i=0; while :; do i=$((i+1)); echo $i >>/data/log; sleep 0.1; done'

/** Starts a container, named as its volume, that writes a line to the volume's log ten times a second. */
export async function startCounter(host: Host, ground: LabGround, volume: string): Promise<void> {
  const mount = ['-v', `${volume}:/data`, '--volume-driver', 'wherry']
  await host.docker(['run', '-d', '--name', volume, ...mount, ground.image, 'sh', '-c', COUNT])
}

/** What the volume's log has, once a Mount succeeds. */
export async function countedLater(host: Host, ground: LabGround, volume: string): Promise<string> {
  const mounted = await until(
    `${volume} goes on on ${host.name}`,
    async () => {
      const tried = await shell(host, ground, volume, 'cat /data/log', true)
      return tried.code === 0 && tried
    },
    { timeoutMs: 60_000 },
  )
  return mounted.stdout
}

/** The kernel finds an error on the ext4 with the host's state, and makes it read-only. */
export async function breakDisk(host: Host): Promise<void> {
  await host.exec(['mount', '-o', 'remount,errors=remount-ro', host.stateDir])
  const { stdout } = await host.exec(['findmnt', '-n', '-o', 'SOURCE', host.stateDir])
  await writeFile(`/sys/fs/ext4/${basename(stdout.trim())}/trigger_fs_error`, '1')
}

/** As Docker says it: running, paused, exited. */
export async function stateOf(host: Host, container: string): Promise<string> {
  return (await host.docker(['inspect', '-f', '{{.State.Status}}', container])).stdout.trim()
}

/** The `wherry` command on a host. */
export function wherry(host: Host, ...args: string[]): Promise<CommandResult> {
  return run(process.execPath, [WHERRY, '--socket', `${host.stateSeen}/agent.sock`, ...args])
}
