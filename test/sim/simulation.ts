import type { Logger } from 'pino'
import { DEFAULT_OPTIONS } from '../../agent/model/volume-options.ts'
import { Timeline } from '../fake/timeline.ts'
import { usePlainAborts } from './abort-race.ts'
import { Checker, type Failure, isBug, type Totals } from './checker.ts'
import { ClusterRegistry } from './cluster-registry.ts'
import { complaintOf } from './complaints.ts'
import { planFaults } from './faults.ts'
import { Machine } from './machine.ts'
import { Network } from './network.ts'
import { News } from './news.ts'
import { People } from './operators.ts'
import { Chance } from './random.ts'
import { drawKinds, leasesOf, optionsOf } from './scenarios.ts'
import { type Settings, SHIPPED } from './settings.ts'
import { StuckWatch } from './stuck-watch.ts'
import { Swarm } from './swarm.ts'
import type { World } from './world.ts'

/** Clocks are off by at most this much. */
const DRIFT_MOST = 0.01
/** Where surplus copies go soon: longer than most faults, and short beside a run. */
const REPLACE_LEAST_MS = 15_000
const REPLACE_MOST_MS = 60_000
/** After the last fault all must be well again within this time. The slowest way there: a drained host keeps what a Mount has asked for until ten minutes after that gave up. */
const CALM_MOST_MS = 20 * 60_000
const CALM_LOOK_MS = 1_000
const AFTER_SET_BACK_MS = 60_000
/** All stays well for so long before a run is over. */
const WELL_MS = 3_000
/** A run that never gets anywhere in time. */
const STEPS_MOST = 2_000_000

export interface Outcome {
  readonly seed: number
  readonly failures: readonly Failure[]
  readonly totals: Totals
  readonly steps: number
  readonly virtualMs: number
}

/** Runs one seed. The same seed, settings and code give the same run, event by event. `trace` gets a line for each thing worth reading. */
export async function simulate(
  seed: number,
  settings: Settings = SHIPPED,
  trace: ((line: string) => void) | null = null,
): Promise<Outcome> {
  const world = createWorld(seed, settings, trace)
  const { timeline, checker } = world
  const onRejection = (error: unknown) => {
    checker.failed('bug', `a rejection that nobody handled: ${error instanceof Error ? error.stack : String(error)}`)
  }
  const giveBack = usePlainAborts()
  process.on('unhandledRejection', onRejection)
  try {
    await runThrough(world)
  } finally {
    process.off('unhandledRejection', onRejection)
    giveBack()
  }
  const { steps, nowMs } = timeline
  return { seed, failures: checker.failures, totals: checker.totals, steps, virtualMs: nowMs }
}

/** Start, faults, calm. */
async function runThrough(world: World): Promise<void> {
  const { timeline, checker } = world
  const goOn = () => checker.failures.length === 0 && timeline.steps < STEPS_MOST
  const faults = planFaults(world)
  begin(world)
  await timeline.run(faults.endMs, goOn)
  if (goOn()) {
    world.trace('-', 'the faults are over')
    faults.mend()
    await settleDown(world, goOn)
  }
  for (const machine of world.machines()) machine.powerOff()
}

async function settleDown(world: World, goOn: () => boolean): Promise<void> {
  const { timeline, checker } = world
  const endMs = timeline.nowMs + CALM_MOST_MS
  let wellMs = 0
  let complaint: string | null = null
  // Nobody can promise that what a registry has forgotten comes back by itself; it is enough to see that nothing worse comes of it.
  while (goOn() && timeline.nowMs < endMs && !checker.setBack) {
    await timeline.run(timeline.nowMs + CALM_LOOK_MS, goOn)
    complaint = complaintOf(world)
    wellMs = complaint === null ? wellMs + CALM_LOOK_MS : 0
    if (wellMs > WELL_MS) {
      if (goOn()) checker.finish()
      return
    }
  }
  if (checker.setBack) await timeline.run(timeline.nowMs + AFTER_SET_BACK_MS, goOn)
  else if (goOn()) checker.failed('liveness', `not well after ${CALM_MOST_MS / 60_000} min: ${complaint}`)
}

function begin(world: World): void {
  for (const machine of world.machines()) machine.startPlugin()
  world.checker.vigil.start()
  new StuckWatch(world).start()
  world.network.onChange()
  for (const volume of world.volumes) world.people.create(volume)
  world.swarm.start()
}

function createWorld(seed: number, settings: Settings, trace: ((line: string) => void) | null): World {
  const chance = new Chance(seed)
  const timeline = new Timeline()
  const count = chance.pick([2, 3, 3, 3, 4, 5])
  const hosts = Array.from({ length: count }, (_, at) => `h${at + 1}`)
  const volumes = chance.hit(0.3) ? ['a', 'b'] : ['a']
  const kinds = drawKinds(chance, settings.always)
  const options = optionsOf(kinds, {
    ...DEFAULT_OPTIONS,
    copies: chance.pick([2, 2, 2, 3]),
    checkpointMs: chance.pick([2_000, 5_000, 10_000]),
  })
  const replaceAfterMs = kinds.has('trims')
    ? chance.between(REPLACE_LEAST_MS, REPLACE_MOST_MS)
    : settings.replaceAfterMs
  const machines = new Map<string, Machine>()
  const machine = (host: string) => machines.get(host) as Machine
  const network = new Network(timeline, chance, (host) => machine(host).on && !machine(host).still)
  let ids = 0
  const say = (who: string, what: string) =>
    trace?.(`${(timeline.nowMs / 1000).toFixed(3).padStart(8)} ${who.padEnd(8)} ${what}`)
  const base = { seed, timeline, chance, settings, hosts, volumes, kinds, options, replaceAfterMs, network, machine }
  const world = {
    ...base,
    machines: () => [...machines.values()],
    serving: (host: string) => {
      const { agent } = machine(host)
      return agent?.life.alive && agent.serves && !machine(host).still ? agent : null
    },
    newId: () => `01SIM${String(++ids).padStart(21, '0')}`,
    trace: say,
    log: (host: string, part: string) => logger(world as World, `${host}/${part}`, trace !== null),
  } as unknown as World & Record<string, unknown>
  world.checker = new Checker(world)
  world.people = new People(world)
  for (const host of hosts) machines.set(host, new Machine(world, host, 1 + chance.between(-DRIFT_MOST, DRIFT_MOST)))
  for (const { lease, ...rest } of leasesOf(kinds, hosts, chance)) machine(rest.host).lease = lease
  const servers = hosts.slice(0, Math.min(count, chance.pick([1, 3, 3, 3, 5])))
  world.registry = new ClusterRegistry(servers, {
    timeline,
    chance,
    network,
    onCommit: (commit) => world.checker.commits.look(commit),
    trace: say,
  })
  world.bus = new News(chance, network, world.registry)
  world.swarm = new Swarm(world, volumes)
  network.onChange = () => world.registry.look()
  const about = `${count} hosts, ${servers.length} servers, volumes ${volumes.join(' ')}, copies ${options.copies}, checkpoint ${options.checkpointMs}, ${[...kinds].join(' ')}`
  say('-', `seed ${seed}: ${about}`)
  return world
}

/** What an agent or a plugin says: errors of the program are failures of the run. */
function logger(world: World, who: string, traced: boolean): Logger {
  const line = (level: string) => (about: unknown, text?: string) => {
    const error = about instanceof Error ? about : (about as { err?: unknown } | null)?.err
    if (isBug(error)) world.checker.failed('bug', `${who} logs ${(error as Error).stack}`)
    if (traced) world.trace(who, `${level}: ${text ?? ''} ${describe(about)}`)
  }
  const names = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const
  const log: Record<string, unknown> = Object.fromEntries(names.map((name) => [name, line(name)]))
  log.child = () => log
  return log as unknown as Logger
}

function describe(about: unknown): string {
  if (typeof about !== 'object' || about === null) return String(about)
  return JSON.stringify(about, (_key, value) => (value instanceof Error ? `${value.name}: ${value.message}` : value))
}
