import type { SwarmNode } from '../../agent/docker/contract.ts'
import type { SimWorld } from './world.ts'

/** Swarm marks a node as down after so long without contact (measured: 13 to 16 s). */
const DOWN_LEAST_MS = 13_000
const DOWN_MOST_MS = 16_000
const MANAGERS_MOST = 3

export interface ScheduledNode {
  readonly host: string
  /** Since when the managers have not reached it; null: they do. */
  lostMs: number | null
  limitMs: number
  down: boolean
  drained: boolean
  version: number
  labels: Record<string, string>
}

/** The nodes of the Swarm, as its managers see them. */
export class SwarmNodes {
  readonly all: readonly ScheduledNode[]
  readonly managers: readonly string[]
  readonly #world: SimWorld

  constructor(world: SimWorld) {
    this.#world = world
    this.managers = world.hosts.slice(0, MANAGERS_MOST)
    const fresh = { lostMs: null, limitMs: 0, down: false, drained: false, version: 1, labels: {} }
    this.all = world.hosts.map((host) => ({ host, ...fresh }))
  }

  find(host: string): ScheduledNode {
    const node = this.all.find((one) => one.host === host)
    if (node === undefined) throw new Error(`no node ${host}`)
    return node
  }

  labels(): ReadonlyMap<string, Readonly<Record<string, string>>> {
    return new Map(this.all.map((node) => [node.host, node.labels]))
  }

  setLabels(host: string, version: number, prefix: string, labels: Readonly<Record<string, string>>): boolean {
    const node = this.find(host)
    if (node.version !== version) return false
    node.version++
    const others = Object.entries(node.labels).filter(([key]) => !key.startsWith(prefix))
    node.labels = { ...Object.fromEntries(others), ...labels }
    return true
  }

  view(): readonly SwarmNode[] {
    return this.all.map(({ host, version, labels, drained }) => ({ id: host, version, labels, drained }))
  }

  /** `docker node update --availability`. */
  drain(host: string, on: boolean): void {
    const node = this.find(host)
    node.drained = on
    node.version++
    this.#world.trace(host, on ? 'swarm: drained' : 'swarm: active')
  }

  isDrained(host: string): boolean {
    return this.find(host).drained
  }

  /** Managers that reach a majority of the managers. */
  quorum(): readonly string[] {
    const { network, machine } = this.#world
    return this.managers.filter((manager) => {
      if (!machine(manager).on) return false
      const reached = this.managers.filter((other) => network.linked(manager, other))
      return reached.length > this.managers.length / 2
    })
  }

  /** Notices which nodes the managers reach; false: the Swarm has no leader. */
  watch(): boolean {
    const quorum = this.quorum()
    if (quorum.length === 0) return false
    for (const node of this.all) this.#watchNode(node, quorum)
    return true
  }

  #watchNode(node: ScheduledNode, quorum: readonly string[]): void {
    const { timeline, random, network, machine } = this.#world
    const inTouch = machine(node.host).on && quorum.some((manager) => network.linked(node.host, manager))
    if (inTouch) {
      node.lostMs = null
      node.down = false
      return
    }
    if (node.lostMs === null) {
      node.lostMs = timeline.nowMs
      node.limitMs = random.between(DOWN_LEAST_MS, DOWN_MOST_MS)
    }
    if (!node.down && timeline.nowMs - node.lostMs >= node.limitMs) {
      node.down = true
      this.#world.trace(node.host, 'swarm: node is down')
    }
  }
}
