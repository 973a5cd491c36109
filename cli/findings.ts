import type { Health, HostView, VolumeView } from '../agent/api/contract.ts'
import { describeOutage, formatSize } from '../agent/api/format.ts'

/**
 * The worst first.
 * `error`: something does not work, or data is at risk. `warning`: it will be. `note`: it is as it is.
 */
const SEVERITIES = ['error', 'warning', 'note'] as const
export type Severity = (typeof SEVERITIES)[number]

/** What an operator should know or do. */
export interface Finding {
  readonly severity: Severity
  /** A host or a volume. */
  readonly about: string
  readonly text: string
  /** What to type or do next; empty: the text says it. */
  readonly mend: string
}

/** What the agent of one host knows of the cluster. */
export interface Cluster {
  readonly health: Health
  readonly hosts: readonly HostView[]
  readonly volumes: readonly VolumeView[]
}

const DAY_MS = 24 * 3_600_000
/** From this long before its end, a certificate is worth a word. */
export const CERTIFICATE_WARNING_DAYS = 30
const CERTIFICATE_ERROR_DAYS = 7
/** Shares of the disk that are free. */
const SPACE_WARNING = 0.1
const SPACE_ERROR = 0.03

/** Finds what needs attention, the worst first. Pure. `now` is for certificates. */
export function findTrouble({ health, hosts, volumes }: Cluster, now: Date): Finding[] {
  const alive = hosts.filter(({ alive }) => alive).length
  const found = [
    ...inHealth(health),
    ...hosts.flatMap((host) => inHost(host, now)),
    ...inVersions(hosts),
    ...volumes.flatMap((volume) => inVolume(volume, alive)),
  ]
  return SEVERITIES.flatMap((severity) => found.filter((finding) => finding.severity === severity))
}

function inHealth({ host, registry, engine, state, fenced, notes }: Health): Finding[] {
  const of = findingsOf(`host ${host}`)
  const since = registry.since === undefined ? {} : { staleSince: registry.since }
  const start = registry.waitsForHosts === true ? 'start Wherry on the other hosts' : 'wherry status'
  return [
    ...(registry.available ? [] : [of('error', `${describeOutage(since)}: ${registry.detail}`, start)]),
    ...(engine.reachable
      ? []
      : [of('error', `the engine does not reply: ${engine.detail}`, 'systemctl status docker')]),
    ...(state.writable ? [] : [of('error', `the state directory cannot be written: ${state.detail}`, 'dmesg | tail')]),
    ...(fenced.length === 0
      ? []
      : [of('error', `${fenced.length} containers are paused until the lease runs again`, 'wherry status')]),
    ...notes.map((note) => of('warning', note)),
  ]
}

function inHost(host: HostView, now: Date): Finding[] {
  if (host.gone === true) return []
  const { name, address, stale, alive, unknown, lastSeen, unwritable, otherPeers, certificateEnds } = host
  const of = findingsOf(`host ${name}`)
  const days = daysLeft(host, now)
  const free = host.totalBytes === 0 ? 1 : host.freeBytes / host.totalBytes
  const space = `${formatSize(host.freeBytes)} of ${formatSize(host.totalBytes)} are free for volumes`
  return [
    // Without the registry nobody knows who is away.
    ...(stale || alive || unknown ? [] : [of('error', `away since ${lastSeen}`, `start it; it was at ${address}`)]),
    ...(unwritable === null
      ? []
      : [of('error', `cannot write its disk since ${unwritable.since} (${unwritable.code})`, 'dmesg | tail, there')]),
    ...(otherPeers === true
      ? [of('warning', 'has another WHERRY_PEERS than this host', 'give all hosts the same list in the same order')]
      : []),
    ...(days >= CERTIFICATE_WARNING_DAYS
      ? []
      : [
          of(
            days < CERTIFICATE_ERROR_DAYS ? 'error' : 'warning',
            `its certificate ends at ${certificateEnds}`,
            `scripts/certs certs ${address}, and copy the files there`,
          ),
        ]),
    ...(free >= SPACE_WARNING
      ? []
      : [of(free < SPACE_ERROR ? 'error' : 'warning', space, 'make room there, or add a host')]),
  ]
}

function inVersions(hosts: readonly HostView[]): Finding[] {
  const versions = [...new Set(hosts.filter(({ alive }) => alive).map(({ version }) => version ?? 'older'))]
  if (versions.length < 2) return []
  const text = `living hosts have the versions ${versions.sort().join(', ')}`
  return [{ severity: 'note', about: 'all hosts', text, mend: 'upgrade the others' }]
}

function inVolume(volume: VolumeView, aliveHosts: number): Finding[] {
  const { name, stuck, late, holder, copies, diverged, divergedElsewhere, namesakes } = volume
  const look = `wherry inspect ${name}`
  const of = findingsOf(`volume ${name}`, look)
  // An agent that has just started, or has no registry, does not know what the hosts are at.
  const isKnown = !volume.stale && volume.hostsUnknown !== true
  const current = copies.filter(({ state, awaySince, host }) => {
    return awaySince === null && (state === 'current' || host === holder?.host)
  })
  const wanted = volume.last === null ? 0 : Math.min(volume.options.copies, aliveHosts)
  const trees = [
    ...divergedElsewhere,
    ...(diverged.length === 0 ? [] : [{ host: 'this host', trees: diverged.length }]),
  ]
  return [
    ...(holder?.away == null
      ? []
      : [of('error', `its holder ${holder.host} is away (${holder.away})`, `wherry promote ${name}`)]),
    ...(stuck === null ? [] : [of('error', `${stuck.host} cannot release it (${stuck.code}): ${stuck.text}`)]),
    ...(late == null ? [] : [of('warning', `${late.host} cannot bring a checkpoint to other hosts: ${late.text}`)]),
    ...(isKnown && current.length < wanted
      ? [of('warning', `${current.length} of ${wanted} copies are current on living hosts`)]
      : []),
    ...trees.map(({ host, trees: count }) => of('warning', `${count} diverged trees on ${host}`, `${look}, there`)),
    ...(namesakes.length === 0
      ? []
      : [
          of(
            'warning',
            `Docker has a local volume of this name on ${namesakes.join(', ')}`,
            `look into it, then: docker volume rm ${name}, there`,
          ),
        ]),
  ]
}

/** Returns what makes the findings of one host or volume. `usual`: what mends most of them. */
function findingsOf(about: string, usual = '') {
  return (severity: Severity, text: string, mend = usual): Finding => ({ severity, about, text, mend })
}

/** How many days a host's certificate is still valid. */
export function daysLeft({ certificateEnds }: HostView, now: Date): number {
  return certificateEnds === null ? Infinity : (Date.parse(certificateEnds) - now.getTime()) / DAY_MS
}
