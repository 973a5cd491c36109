import { Gauge, type Registry } from 'prom-client'
import type { Health } from '../mobility/contract.ts'
import type { VolumeView } from '../mobility/volume-view.ts'
import type { CopyState, Trouble } from '../model/model.ts'

/** `away`: the copy's host is away, and the copy is of no use in any state. */
const COPY_STATES: readonly (CopyState | 'away')[] = ['current', 'behind', 'filling', 'diverged', 'away']

/** What is known at the time of a scrape. */
export interface Facts {
  readonly volumes: readonly VolumeView[]
  /** Number of hosts of the cluster. */
  readonly hosts: number
  readonly health: Health
}

type VolumeGauge = (volume: VolumeView, facts: Facts) => readonly Sample[]
interface Sample {
  readonly labels?: Readonly<Record<string, string>>
  readonly value: number
}

const one = (value: number): readonly Sample[] => [{ value }]

/** How long a trouble has lasted, labelled with its code. Without a trouble there is no label. */
function sinceTrouble(trouble: Trouble | null): readonly Sample[] {
  if (trouble === null) return one(0)
  const seconds = Math.max(0, (Date.now() - Date.parse(trouble.since)) / 1000)
  return [{ labels: { code: trouble.code }, value: seconds }]
}

/** Gauges of volumes by name: help, labels beside `volume`, and the samples of one volume. */
const VOLUME_GAUGES: Readonly<Record<string, { help: string; labels?: readonly string[]; of: VolumeGauge }>> = {
  wherry_volume_held: {
    help: '1 when this host holds the volume, else 0.',
    of: (volume) => one(isHeldHere(volume) ? 1 : 0),
  },
  wherry_release_failed_seconds: {
    help: [
      'How long the holder of the volume has been unable to release it although no container uses it; 0: it can.',
      'Each host reports it for every volume.',
    ].join(' '),
    labels: ['code'],
    of: ({ stuck }) => sinceTrouble(stuck),
  },
  wherry_checkpoint_failed_seconds: {
    help: [
      'How long an error has kept the newest checkpoint of a volume in use from other hosts; 0: none does.',
      'Each host reports it for every volume.',
    ].join(' '),
    labels: ['code'],
    of: ({ late }) => sinceTrouble(late ?? null),
  },
  wherry_holder_unwritable_seconds: {
    help: [
      'How long the holder of the volume has been unable to write its state directory; 0: it can.',
      'Each host reports it for every volume.',
    ].join(' '),
    labels: ['code'],
    of: ({ unwritable }) => sinceTrouble(unwritable),
  },
  wherry_checkpoint_age_seconds: {
    help: 'For a volume held here: age of the newest checkpoint that another living host has; +Inf: none has one.',
    of: (volume, facts) =>
      wantsCheckpoints(volume, facts) && !volume.hostsUnknown ? one(volume.elsewhere?.ageSeconds ?? Infinity) : [],
  },
  wherry_changes_tracked: {
    help: 'For a volume held here: 1 if the kernel reports changed parts of files, 0 if changed files are read whole.',
    of: (volume, facts) => (wantsCheckpoints(volume, facts) ? one(volume.checkpointing?.scanned === null ? 1 : 0) : []),
  },
  wherry_copies: {
    help: 'Copies of the volume in the cluster, by state; those on hosts that are away count as away only.',
    labels: ['state'],
    of: (volume) => {
      // No alert because this agent was restarted.
      if (volume.hostsUnknown) return []
      const states = copyStates(volume)
      return COPY_STATES.map((state) => ({
        labels: { state },
        value: states.filter((other) => other === state).length,
      }))
    },
  },
  wherry_copies_wanted: {
    help: 'How many copies the volume should have in the cluster as it is.',
    of: ({ options, holder, last }, { hosts }) =>
      // A volume that was never used has nothing to copy.
      one(holder === null && last === null ? 0 : Math.min(options.copies, Math.max(1, hosts))),
  },
  wherry_diverged_trees: {
    help: 'Trees on this host with writes that the cluster never got. The operator has to check and remove them.',
    of: ({ diverged }) => one(diverged.length),
  },
  wherry_seizure_loss_seconds: {
    help: 'Seconds before the last failover of the volume whose writes may be missing.',
    of: ({ seizure }) => (seizure === null ? [] : one(seizure.ageSeconds)),
  },
  wherry_seizure_timestamp_seconds: {
    help: 'Time of the last failover of the volume, in seconds since 1970.',
    of: ({ seizure }) => (seizure === null ? [] : one(Date.parse(seizure.at) / 1000)),
  },
}

/** Gauges of this host by name. */
const HOST_GAUGES: Readonly<Record<string, { help: string; of: (health: Health) => number }>> = {
  wherry_registry_available: {
    help: '1 while the registry replies to this host, else 0.',
    of: ({ registry }) => Number(registry.available),
  },
  wherry_engine_reachable: {
    help: '1 while the Docker engine of this host replies, else 0.',
    of: ({ engine }) => Number(engine.reachable),
  },
  wherry_state_writable: {
    help: '1 while this host can write its state directory, else 0.',
    of: ({ state }) => Number(state.writable),
  },
  wherry_lease_seconds_left: {
    help: "How long this host's lease runs without another renewal; 0: it has expired.",
    of: ({ lease }) => lease.secondsLeft,
  },
  wherry_certificate_end_timestamp_seconds: {
    help: "When this host's certificate or its CA ends, in seconds since 1970; +Inf: the host needs none.",
    of: ({ certificateEnds }) => (certificateEnds === null ? Infinity : Date.parse(certificateEnds) / 1000),
  },
  wherry_fenced_containers: {
    help: 'Containers of this host that are paused because its lease has expired.',
    of: ({ fenced }) => fenced.length,
  },
}

/** Gauges of the state at the time of a scrape. */
export class Gauges {
  readonly #ofVolumes: readonly { readonly gauge: Gauge; readonly of: VolumeGauge }[]
  readonly #ofHost: readonly { readonly gauge: Gauge; readonly of: (health: Health) => number }[]

  constructor(registry: Registry) {
    const registers = [registry]
    this.#ofVolumes = Object.entries(VOLUME_GAUGES).map(([name, { help, labels = [], of }]) => {
      return { gauge: new Gauge({ name, help, labelNames: ['volume', ...labels], registers }), of }
    })
    this.#ofHost = Object.entries(HOST_GAUGES).map(([name, { help, of }]) => {
      return { gauge: new Gauge({ name, help, registers }), of }
    })
  }

  /** Replaces all earlier samples: removed volumes have none. */
  set(facts: Facts): void {
    for (const { gauge, of } of this.#ofHost) gauge.set(of(facts.health))
    for (const { gauge, of } of this.#ofVolumes) {
      gauge.reset()
      for (const volume of facts.volumes) {
        for (const { labels, value } of of(volume, facts)) gauge.set({ volume: volume.name, ...labels }, value)
      }
    }
  }
}

/** Counts the holder's copy as current, even if the registry does not list it yet: it has the newest data. */
function copyStates({ copies, holder }: VolumeView): (CopyState | 'away')[] {
  const others = copies
    .filter(({ host }) => host !== holder?.host)
    .map(({ state, awaySince }) => (awaySince === null ? state : 'away'))
  return holder === null ? others : [holder.away === null ? 'current' : 'away', ...others]
}

/** True if this host holds the volume: only the holder knows the state of its checkpoints. */
function isHeldHere({ checkpointing }: VolumeView): boolean {
  return checkpointing !== null
}

function wantsCheckpoints(volume: VolumeView, { hosts }: Facts): boolean {
  const { copies, checkpointMs } = volume.options
  return isHeldHere(volume) && checkpointMs !== null && copies > 1 && hosts > 1
}
