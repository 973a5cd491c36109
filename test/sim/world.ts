import type { Logger } from 'pino'
import type { VolumeOptions } from '../../agent/model/model.ts'
import type { Timeline } from '../fake/timeline.ts'
import type { Agent } from './agent.ts'
import type { Checker } from './checker.ts'
import type { ClusterRegistry } from './cluster-registry.ts'
import type { Machine } from './machine.ts'
import type { Network } from './network.ts'
import type { News } from './news.ts'
import type { People } from './operators.ts'
import type { Chance } from './random.ts'
import type { Kinds } from './scenarios.ts'
import type { Settings } from './settings.ts'
import type { Swarm } from './swarm.ts'

/** Everything there is in one run. */
export interface World {
  readonly seed: number
  readonly timeline: Timeline
  readonly chance: Chance
  readonly settings: Settings
  readonly hosts: readonly string[]
  readonly volumes: readonly string[]
  readonly kinds: Kinds
  /** Of all volumes. */
  readonly options: VolumeOptions
  readonly replaceAfterMs: number
  readonly network: Network
  registry: ClusterRegistry
  bus: News
  swarm: Swarm
  checker: Checker
  people: People
  machine(host: string): Machine
  machines(): readonly Machine[]
  /** The agent that answers at an address now. */
  serving(address: string): Agent | null
  newId(): string
  trace(who: string, what: string): void
  log(host: string, part: string): Logger
}
