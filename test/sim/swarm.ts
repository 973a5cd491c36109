import type { PlacedTask, SwarmNode, SwarmService } from '../../agent/docker/contract.ts'
import type { SwarmView } from '../fake/engine.ts'
import type { Container } from './containers.ts'
import { SwarmNodes } from './swarm-nodes.ts'
import type { SimWorld } from './world.ts'

/** How often Swarm's loops run here. */
const LOOK_MS = 500
/** Delay of a restart (Swarm's default). */
const RESTART_MS = 5_000
/** A new task waits at most this long for the old one to stop. */
const STOP_WAIT_MS = 60_000
/**
 * Agents in a Swarm place no copies in their first half minute. In most runs they learn of the Swarm a little late, so
 * that there are copies before there are faults.
 */
const JOINED_MS = 14_000
const JOINED_LATE = 0.8

interface Task {
  readonly id: string
  readonly node: string
  container: Container | null
  /** Swarm wants it to end. */
  shutdown: boolean
  /** Boot of its host that started it. */
  readonly boot: number
}

interface Service {
  readonly volume: string
  task: Task | null
  /** No new task is started before this time. */
  nextMs: number
  /** False: it is scaled to 0. */
  wanted: boolean
  /** False: it was removed. */
  exists: boolean
  /** Tasks that Swarm gave up. Those that still run are stopped once their node replies. */
  orphans: Task[]
}

/**
 * A scheduler like Swarm's: one service per volume, one task each. It does not fence: isolated nodes keep their
 * containers.
 */
export class Swarm implements SwarmView {
  readonly services: Service[]
  readonly #world: SimWorld
  readonly #nodes: SwarmNodes
  readonly #joinedMs: number
  #tasks = 0

  constructor(world: SimWorld, volumes: readonly string[]) {
    this.#world = world
    this.#joinedMs = world.random.hit(JOINED_LATE) ? JOINED_MS : 0
    this.#nodes = new SwarmNodes(world)
    this.services = volumes.map((volume) => ({
      volume,
      task: null,
      nextMs: 0,
      wanted: true,
      exists: true,
      orphans: [],
    }))
  }

  start(): void {
    this.#world.timeline.after(
      LOOK_MS,
      () => {
        this.#look()
        this.start()
      },
      true,
    )
  }

  isLeader(host: string): boolean {
    return this.#nodes.quorum()[0] === host
  }

  nodeOf(host: string): string | null {
    return this.#world.timeline.nowMs >= this.#joinedMs ? host : null
  }

  tasks(): PlacedTask[] {
    return this.services.flatMap(({ volume, task }) =>
      task === null ? [] : [{ task: task.id, service: volume, node: task.node, volumes: [volume], options: {} }],
    )
  }

  labels(): ReadonlyMap<string, Readonly<Record<string, string>>> {
    return this.#nodes.labels()
  }

  setLabels(...args: Parameters<SwarmView['setLabels']>): boolean {
    return this.#nodes.setLabels(...args)
  }

  nodes(): readonly SwarmNode[] {
    return this.#nodes.view()
  }

  /** `docker node update --availability`. */
  drain(host: string, on: boolean): void {
    this.#nodes.drain(host, on)
  }

  isDrained(host: string): boolean {
    return this.#nodes.isDrained(host)
  }

  servicesAt(host: string): readonly SwarmService[] | 'worker' | null {
    if (!this.#nodes.managers.includes(host)) return 'worker'
    if (!this.#nodes.quorum().includes(host)) return null
    return this.services.filter(({ exists }) => exists).map(({ volume }) => ({ name: volume, volumes: [volume] }))
  }

  /** Whether a service has the volume in its spec, running or not. */
  isNamed(volume: string): boolean {
    return this.#service(volume).exists
  }

  /** `docker service update --force`: the task is replaced. */
  replace(volume: string): void {
    const service = this.#service(volume)
    if (service.task !== null) this.#shutDown(service, service.task)
  }

  /** `docker service scale NAME=0`. */
  halt(volume: string): void {
    const service = this.#service(volume)
    service.wanted = false
    if (service.task !== null) this.#shutDown(service, service.task)
  }

  /** `docker service rm`. */
  remove(volume: string): void {
    this.halt(volume)
    this.#service(volume).exists = false
  }

  /** `docker service scale NAME=1`, or `docker service create`. */
  run(volume: string): void {
    const service = this.#service(volume)
    service.wanted = true
    service.exists = true
  }

  /** Whether all that is left of the service is on nodes that are down. */
  isLost(volume: string): boolean {
    const { task, orphans } = this.#service(volume)
    return task === null && orphans.every(({ node }) => this.#nodes.find(node).down)
  }

  isWanted(volume: string): boolean {
    return this.#service(volume).wanted
  }

  /** Returns why not every wanted service has a task that runs; null: all have. */
  complaint(): string | null {
    for (const { volume, task, orphans, wanted } of this.services) {
      if (!wanted) continue
      const state = task?.container?.state
      if (state !== 'running') return `the service of ${volume} does not run (${task?.node ?? 'nowhere'}: ${state})`
      if (orphans.length > 0) return `an old task of ${volume} is left on ${orphans[0]?.node}`
    }
    return null
  }

  #look(): void {
    const { timeline } = this.#world
    if (!this.#nodes.watch()) return
    for (const service of this.services) {
      this.#settle(service)
      if (service.wanted && service.task === null && timeline.nowMs >= service.nextMs) this.#place(service)
    }
  }

  #settle(service: Service): void {
    const { timeline, machine } = this.#world
    for (const orphan of [...service.orphans]) this.#endOrphan(service, orphan)
    const { task } = service
    if (task === null) return
    const node = this.#nodes.find(task.node)
    if (node.down) {
      service.orphans.push(task)
      service.task = null
      service.nextMs = timeline.nowMs + RESTART_MS
      return
    }
    if (node.lostMs !== null) return
    const gone = task.container === null || task.container.state === 'exited' || machine(task.node).boots !== task.boot
    if (gone) {
      service.task = null
      service.nextMs = timeline.nowMs + RESTART_MS
    } else if (node.drained && !task.shutdown) {
      this.#shutDown(service, task)
    }
  }

  /** The old task ends first; the new one starts then, or after a minute. */
  #shutDown(service: Service, task: Task): void {
    const { timeline } = this.#world
    task.shutdown = true
    service.task = null
    service.orphans.push(task)
    service.nextMs = timeline.nowMs + STOP_WAIT_MS
    this.#endOrphan(service, task)
  }

  #endOrphan(service: Service, task: Task): void {
    const { machine, timeline } = this.#world
    const node = this.#nodes.find(task.node)
    const host = machine(task.node)
    if (node.lostMs !== null || !host.on || host.containers.away) return
    const done = () => {
      const at = service.orphans.indexOf(task)
      if (at < 0) return
      service.orphans.splice(at, 1)
      if (task.shutdown && service.task === null) service.nextMs = Math.min(service.nextMs, timeline.nowMs)
    }
    if (task.container === null || host.boots !== task.boot) {
      done()
      return
    }
    if (!task.container.stopping) host.docker.stop(task.container, done)
    else if (task.container.state === 'exited') done()
  }

  #place(service: Service): void {
    const { random, checker, machine, timeline, registry } = this.#world
    // Nobody starts a service before its volume exists.
    if (registry.record(service.volume) === null && !checker.wiped) return
    const able = this.#nodes.all.filter(({ down, lostMs, drained, host }) => {
      return !down && lostMs === null && !drained && !machine(host).containers.away
    })
    if (able.length === 0) return
    const { host } = random.pick(able)
    const id = `t${++this.#tasks}-${service.volume}`
    const task: Task = { id, node: host, container: null, shutdown: false, boot: machine(host).boots }
    service.task = task
    task.container = machine(host).docker.start(id, service.volume, () => {
      task.container = null
      if (service.task === task) {
        service.task = null
        service.nextMs = timeline.nowMs + RESTART_MS
      }
    })
  }

  #service(volume: string): Service {
    const service = this.services.find((one) => one.volume === volume)
    if (service === undefined) throw new Error(`no service of ${volume}`)
    return service
  }
}
