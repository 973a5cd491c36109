import type { PlacedTask, SwarmNode, SwarmService } from '../../agent/docker/contract.ts'
import type { Container } from './containers.ts'
import type { SwarmView } from './engine-client.ts'
import type { World } from './world.ts'

/** How often Swarm's loops look in this simulation. */
const LOOK_MS = 500
/** Swarm calls a node down after so long without a word (measured: 13 to 16 s). */
const DOWN_LEAST_MS = 13_000
const DOWN_MOST_MS = 16_000
/** Delay of a restart (Swarm's default). */
const RESTART_MS = 5_000
/** A new task waits at most this long for the old one to stop. */
const STOP_WAIT_MS = 60_000
const MANAGERS_MOST = 3
/** Agents in a Swarm place no copies in their first half minute. In most runs they learn of it a little late, so that there are copies before there are faults. */
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
  /** Not before this time is a new task started. */
  nextMs: number
  /** False: it is scaled to 0. */
  wanted: boolean
  /** False: it was removed. */
  exists: boolean
  /** Tasks that Swarm gave up; where they still run they are stopped once their node answers. */
  orphans: Task[]
}

interface Node {
  readonly host: string
  lostMs: number | null
  limitMs: number
  down: boolean
  drained: boolean
  version: number
  labels: Record<string, string>
}

/** A scheduler like Swarm's: one service per volume, one task each. It does not fence: a cut-off node keeps its containers. */
export class Swarm implements SwarmView {
  readonly services: Service[]
  readonly #world: World
  readonly #nodes: Node[]
  readonly #managers: readonly string[]
  readonly #joinedMs: number
  #tasks = 0

  constructor(world: World, volumes: readonly string[]) {
    this.#world = world
    this.#joinedMs = world.chance.hit(JOINED_LATE) ? JOINED_MS : 0
    this.#managers = world.hosts.slice(0, MANAGERS_MOST)
    this.#nodes = world.hosts.map((host) => ({
      host,
      lostMs: null,
      limitMs: 0,
      down: false,
      drained: false,
      version: 1,
      labels: {},
    }))
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
    return this.#quorum()[0] === host
  }

  isJoined(): boolean {
    return this.#world.timeline.nowMs >= this.#joinedMs
  }

  tasks(): PlacedTask[] {
    return this.services.flatMap(({ volume, task }) =>
      task === null ? [] : [{ task: task.id, service: volume, node: task.node, volumes: [volume] }],
    )
  }

  labels(): ReadonlyMap<string, Readonly<Record<string, string>>> {
    return new Map(this.#nodes.map((node) => [node.host, node.labels]))
  }

  setLabels(host: string, version: number, prefix: string, labels: Readonly<Record<string, string>>): boolean {
    const node = this.#node(host)
    if (node.version !== version) return false
    node.version++
    const others = Object.entries(node.labels).filter(([key]) => !key.startsWith(prefix))
    node.labels = { ...Object.fromEntries(others), ...labels }
    return true
  }

  nodes(): readonly SwarmNode[] {
    return this.#nodes.map(({ host, version, labels, drained }) => ({ id: host, version, labels, drained }))
  }

  servicesAt(host: string): readonly SwarmService[] | 'worker' | null {
    if (!this.#managers.includes(host)) return 'worker'
    if (!this.#quorum().includes(host)) return null
    return this.services.filter(({ exists }) => exists).map(({ volume }) => ({ name: volume, volumes: [volume] }))
  }

  /** Whether a service has the volume in its spec, running or not. */
  isNamed(volume: string): boolean {
    return this.#service(volume).exists
  }

  /** `docker node update --availability`. */
  drain(host: string, on: boolean): void {
    const node = this.#node(host)
    node.drained = on
    node.version++
    this.#world.trace(host, on ? 'swarm: drained' : 'swarm: active')
  }

  isDrained(host: string): boolean {
    return this.#node(host).drained
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

  /** Whatever is left of the service is on nodes that are down. */
  isLost(volume: string): boolean {
    const { task, orphans } = this.#service(volume)
    return task === null && orphans.every(({ node }) => this.#node(node).down)
  }

  isWanted(volume: string): boolean {
    return this.#service(volume).wanted
  }

  /** Whether every service that is wanted has a task whose container runs. */
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
    const quorum = this.#quorum()
    if (quorum.length === 0) return
    for (const node of this.#nodes) this.#watchNode(node, quorum)
    for (const service of this.services) {
      this.#settle(service)
      if (service.wanted && service.task === null && timeline.nowMs >= service.nextMs) this.#place(service)
    }
  }

  #watchNode(node: Node, quorum: readonly string[]): void {
    const { timeline, chance, network, machine } = this.#world
    const inTouch = machine(node.host).on && quorum.some((manager) => network.linked(node.host, manager))
    if (inTouch) {
      node.lostMs = null
      node.down = false
      return
    }
    if (node.lostMs === null) {
      node.lostMs = timeline.nowMs
      node.limitMs = chance.between(DOWN_LEAST_MS, DOWN_MOST_MS)
    }
    if (!node.down && timeline.nowMs - node.lostMs >= node.limitMs) {
      node.down = true
      this.#world.trace(node.host, 'swarm: node is down')
    }
  }

  #settle(service: Service): void {
    const { timeline, machine } = this.#world
    for (const orphan of [...service.orphans]) this.#endOrphan(service, orphan)
    const { task } = service
    if (task === null) return
    const node = this.#node(task.node)
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

  /** The old task ends first, the new one starts then, or after a minute. */
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
    const node = this.#node(task.node)
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
    const { chance, checker, machine, timeline, registry } = this.#world
    // Nobody starts a service of a volume that is not there yet.
    if (registry.record(service.volume) === null && !checker.wiped) return
    const able = this.#nodes.filter(({ down, lostMs, drained, host }) => {
      return !down && lostMs === null && !drained && !machine(host).containers.away
    })
    if (able.length === 0) return
    const { host } = chance.pick(able)
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

  /** Managers that reach a majority of the managers. */
  #quorum(): readonly string[] {
    const { network, machine } = this.#world
    return this.#managers.filter((manager) => {
      if (!machine(manager).on) return false
      const reached = this.#managers.filter((other) => network.linked(manager, other))
      return reached.length > this.#managers.length / 2
    })
  }

  #node(host: string): Node {
    const node = this.#nodes.find((one) => one.host === host)
    if (node === undefined) throw new Error(`no node ${host}`)
    return node
  }
}
