import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import type { Host } from '../../lab/host.ts'
import { agentOf, type LabGround, treeOf } from './fixture.ts'

/** Lines between two that rewrite the blob, so that checkpoints have something to bring. */
const LINES_PER_BLOB = 20
const BLOB_MEBIBYTES = 4

/** Appends the machine's uptime in seconds over and over, and sometimes a few megabytes beside. */
const PULSE = `
trap 'exit 0' TERM
n=0
while :; do
  read up rest </proc/uptime; echo $up >>/data/pulse
  n=$((n+1))
  [ $((n % ${LINES_PER_BLOB})) != 1 ] ||
    dd if=/dev/urandom of=/data/blob bs=1M count=${BLOB_MEBIBYTES} conv=notrunc 2>/dev/null
  sleep 0.1
done`

/** Starts a container that writes to the volume all the time; resolves when it runs. */
export async function startPulse(host: Host, { image }: LabGround, volume: string): Promise<void> {
  const mount = ['-v', `${volume}:/data`, '--volume-driver', 'wherry']
  await host.docker(['run', '-d', '--name', `pulse-${volume}`, ...mount, image, 'sh', '-c', PULSE])
}

export async function endPulse(host: Host, volume: string): Promise<void> {
  await host.docker(['rm', '-f', `pulse-${volume}`], { allowFailure: true })
}

/** When the container wrote, as this host's tree has it: seconds of uptime, the same clock on all hosts of the lab. */
export async function pulsesOn(host: Host, volume: string): Promise<number[]> {
  const text = await readFile(`${await treeOf(host, volume)}/pulse`, 'utf8')
  return text.split('\n').slice(0, -1).map(Number)
}

/** The longest time in seconds for which the container wrote nothing. */
export function longestGap(pulses: readonly number[]): number {
  return Math.max(...pulses.map((at, nth) => at - (pulses[nth - 1] ?? at)))
}

/** The machine's uptime in seconds, as the pulses are written. */
export function uptimeNow(): number {
  return Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0])
}

/** What the record says of a host's copy; undefined: it has none. As seen by `asked`. */
export async function copyOf(asked: Host, volume: string, host: Host) {
  await using agent = agentOf(asked)
  return (await agent.get(volume)).copies.find((copy) => copy.host === host.name)
}

/** Names of the hosts whose copy is at the volume's newest checkpoint, as seen by `asked`. */
export async function currentOn(asked: Host, volume: string): Promise<string[]> {
  await using agent = agentOf(asked)
  const { copies, last } = await agent.get(volume)
  const isNewest = ({ state, epoch, seq }: (typeof copies)[number]) =>
    state === 'current' && epoch === last?.epoch && seq === last.seq
  return copies.filter(isNewest).map(({ host }) => host)
}
