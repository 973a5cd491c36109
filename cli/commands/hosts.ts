import type { Command } from 'commander'
import type { HostView } from '../../agent/api/contract.ts'
import { describeOutage, formatSize } from '../../agent/api/format.ts'
import { newCommand, printView, type Run } from '../command.ts'
import { CERTIFICATE_WARNING_DAYS, daysLeft } from '../findings.ts'
import { textTable } from '../table.ts'

export function hostsCommand(run: Run): Command {
  return newCommand('hosts', 'list hosts, their free space and zone, and which are drained or cannot write').action(
    run(async (call) => printView(call, await call.agent.hosts(call.signal), showHosts)),
  )
}

function showHosts(hosts: readonly HostView[]): string {
  // While hosts are upgraded, their versions are what an operator looks for.
  const isSkewed = new Set(hosts.map(({ version }) => version)).size > 1
  const rows = hosts.map((host) => [
    host.self ? `${host.name} (this)` : host.name,
    host.address,
    describeHost(host),
    host.draining ? 'yes' : 'no',
    host.zone ?? '-',
    host.totalBytes === 0 ? '-' : `${formatSize(host.freeBytes)} of ${formatSize(host.totalBytes)}`,
    String(host.holds),
    ...(isSkewed ? [host.version ?? 'older'] : []),
  ])
  const titles = ['HOST', 'ADDRESS', 'STATE', 'DRAINED', 'ZONE', 'FREE', 'HOLDS']
  const list = textTable(isSkewed ? [...titles, 'VERSION'] : titles, rows)
  const [first] = hosts.filter(({ stale }) => stale)
  return first === undefined
    ? list
    : `${list}\nBeware: ${describeOutage(first)}. This is the last known state: the other hosts may be well.`
}

function describeHost(host: HostView): string {
  const isDue = daysLeft(host, new Date()) < CERTIFICATE_WARNING_DAYS
  return [
    describeState(host),
    ...(host.otherPeers === true ? ['other WHERRY_PEERS'] : []),
    ...(isDue ? [`certificate ends ${host.certificateEnds?.slice(0, 10)}`] : []),
  ].join(', ')
}

function describeState(host: HostView): string {
  const { unwritable } = host
  if (unwritable === null) return describeReach(host)
  return `${describeReach(host)}, cannot write its disk since ${unwritable.since} (${unwritable.code})`
}

/** While the registry does not reply, this host knows nothing of the others. */
function describeReach({ self, alive, stale, unknown, gone, lastSeen }: HostView): string {
  if (stale && self) return 'without registry'
  if (stale) return lastSeen === '' ? 'not heard from since the agent started' : `last heard from ${lastSeen}`
  if (self && !alive) return 'without lease'
  if (unknown) return `not heard from yet, last heartbeat at ${lastSeen}`
  return alive ? 'alive' : `${gone ? 'gone' : 'away'} since ${lastSeen}`
}
