import { run } from './command.ts'

/** The namespace that stands for the cables: a bridge, the lab's image registry, and whoever watches from outside. */
export const SWITCH = 'wherry-switch'
export const SWITCH_ADDRESS = '10.88.0.254'

/** Smallest burst a token bucket needs here: one segment-offloaded packet of 64 KiB. */
const MIN_BURST_BYTES = 64 * 1024
/** A bucket must hold what flows between two timer ticks; 100 ticks a second is the slowest kernel setting. */
const TICKS_PER_SECOND = 100
/** How long a packet may queue on a slowed link before it is dropped; like a small router's buffer. */
const QUEUE_MS = 100

export function namespaceOfHost(index: number): string {
  return `wherry-h${index}`
}

export function addressOfHost(index: number): string {
  return `10.88.0.${index}`
}

/**
 * Makes the switch. The bridge is not in the machine's own namespace, so the machine's addresses and firewall stay as
 * they are.
 */
export async function createSwitch(): Promise<void> {
  await run('ip', ['netns', 'add', SWITCH])
  await ip(
    SWITCH,
    'link set lo up',
    'link add br0 type bridge forward_delay 0',
    `address add ${SWITCH_ADDRESS}/24 dev br0`,
    'link set br0 up',
  )
}

/** Makes a host's namespace with its cable plugged into the switch. */
export async function createHostNetwork(index: number): Promise<void> {
  const host = namespaceOfHost(index)
  await run('ip', ['netns', 'add', host])
  await ip(
    SWITCH,
    `link add p${index} type veth peer name eth0 netns ${host}`,
    `link set p${index} master br0`,
    `link set p${index} up`,
  )
  await ip(host, 'link set lo up', `address add ${addressOfHost(index)}/24 dev eth0`, 'link set eth0 up')
}

/** Plugs or unplugs a host's cable, on the switch's side: the host itself only loses its carrier. */
export async function setLink(index: number, state: 'up' | 'down'): Promise<void> {
  await ip(SWITCH, `link set p${index} ${state}`)
}

/** Takes a host off the switch for good; the host's end goes with it. Safe to repeat. */
export async function deleteLink(index: number): Promise<void> {
  await run('ip', ['-n', SWITCH, 'link', 'delete', `p${index}`], { allowFailure: true })
}

/** Limits a host's link in both directions; null takes the limit away. */
export async function setRate(index: number, bitsPerSecond: number | null): Promise<void> {
  for (const [namespace, device] of [
    [SWITCH, `p${index}`],
    [namespaceOfHost(index), 'eth0'],
  ] as const) {
    const base = ['-n', namespace, 'qdisc']
    if (bitsPerSecond === null) {
      await run('tc', [...base, 'delete', 'dev', device, 'root'], { allowFailure: true })
      continue
    }
    const burst = Math.max(MIN_BURST_BYTES, Math.ceil(bitsPerSecond / 8 / TICKS_PER_SECOND))
    const limit = ['rate', `${bitsPerSecond}bit`, 'burst', `${burst}b`, 'latency', `${QUEUE_MS}ms`]
    await run('tc', [...base, 'replace', 'dev', device, 'root', 'tbf', ...limit])
  }
}

async function ip(namespace: string, ...commands: string[]): Promise<void> {
  await run('ip', ['-n', namespace, '-batch', '-'], { input: `${commands.join('\n')}\n` })
}
