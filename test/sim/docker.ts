import { basename } from 'node:path'
import { codeOf } from '../../agent/model/errors.ts'
import type { SimAgent } from './agent.ts'
import type { Container } from './containers.ts'
import type { Machine } from './machine.ts'

/** Docker gives a Mount up after 120 s; the plugin's own limit is lower. */
const MOUNT_DEADLINE_MS = 110_000
const ANSWER_GRACE_MS = 5_000
/** The plugin waits this long for its agent where Docker does not say. */
const QUICK_DEADLINE_MS = 25_000
const RETRY_MS = 100
/** From the reply to a Mount to the container's first write: usually little, now and then an engine under load. */
const START_LEAST_MS = 20
const START_MOST_MS = 400
const START_SLOW_MS = 6_000
/** How long a container needs to end after SIGTERM; Docker kills it after ten seconds. */
const STOP_LEAST_MS = 20
const STOP_MOST_MS = 1_500
const STOP_LIMIT_MS = 10_000

/** Swarm keeps the last containers of a service for a while. */
const FORGET_MS = 30_000

interface Call {
  readonly volume: string
  readonly run: (agent: SimAgent) => Promise<unknown>
  readonly done: (error: unknown) => void
  readonly untilMs: number
  /** Undoes a call that succeeded after its caller had given up. */
  readonly takeBack: () => void
  /** The agent that works on the call; null: none does. */
  agent: SimAgent | null
  over: boolean
}

/** What dockerd does with containers of our volumes, and the plugin with dockerd's calls. */
export class Docker {
  readonly #machine: Machine
  readonly #calls = new Set<Call>()

  constructor(machine: Machine) {
    this.#machine = machine
  }

  /** Creates and starts a container; `failed`: its volume could not be mounted. */
  start(id: string, volume: string, failed: () => void): Container {
    const { containers, world, host } = this.#machine
    const container = containers.create(id, volume, `m-${id}`)
    world.trace(host, `docker: mount ${volume} for ${id}`)
    this.#mount(container, (error) => {
      if (container.state !== 'created') {
        if (error === null) this.#unmount(container)
        return
      }
      if (error !== null) {
        world.trace(host, `docker: ${id} did not start: ${String(error)}`)
        containers.remove(container)
        failed()
        return
      }
      container.mounted = true
      world.checker.mounted(host, container)
      const ms = world.random.hit(0.03)
        ? world.random.between(START_MOST_MS, START_SLOW_MS)
        : world.random.between(START_LEAST_MS, START_MOST_MS)
      this.#machine.later(ms, () => {
        if (container.state !== 'created') return
        world.trace(host, `docker: ${id} runs`)
        containers.started(container)
      })
    })
    return container
  }

  /** Ends a container with time to stop; `done` when nothing of it runs any more. */
  stop(container: Container, done: () => void): void {
    const { containers, world, host } = this.#machine
    if (container.state === 'exited') {
      done()
      return
    }
    if (container.stopping) {
      this.#machine.later(STOP_LIMIT_MS, () => this.stop(container, done))
      return
    }
    world.trace(host, `docker: stop ${container.id} (${container.state})`)
    container.stopping = true
    if (container.state === 'created') {
      container.state = 'exited'
      if (container.mounted) this.#unmount(container)
      containers.remove(container)
      done()
      return
    }
    // moby's killWithSignal resumes a paused container, so that it gets the signal.
    const run = container.run
    if (container.state === 'paused') {
      container.ending = container.pausedByOtherMs !== null || world.checker.isFenced(host, container)
      containers.resume(container)
    }
    this.#machine.later(world.random.between(STOP_LEAST_MS, STOP_MOST_MS), () => {
      if (container.run === run) this.#end(container)
      this.#machine.later(world.random.between(1, 200), done)
    })
  }

  /** SIGKILL, which ends a frozen one as well. */
  kill(container: Container): void {
    if (!container.alive) return
    this.#machine.world.trace(this.#machine.host, `docker: kill ${container.id}`)
    this.#end(container)
  }

  /** `docker cp`: mounts and unmounts with the id of the container that runs. */
  copyOut(container: Container): void {
    const { world, host } = this.#machine
    world.trace(host, `docker: cp ${container.id}`)
    this.#mount(container, (error) => {
      if (error === null) this.#machine.later(world.random.between(5, 500), () => this.#unmount(container))
    })
  }

  /** Calls that the agent worked on are repeated by the plugin. */
  agentEnded(): void {
    for (const call of this.#calls) call.agent = null
  }

  /** Everything that ran is gone, without an event. */
  powerCut(): void {
    const { containers } = this.#machine
    this.#calls.clear()
    for (const container of [...containers.all]) {
      if (container.state === 'created') containers.remove(container)
      else if (container.state !== 'exited') containers.ended(container)
    }
  }

  /** After a boot, what ran before the power cut is shown as exited now. No Unmount comes for it. */
  restored(): void {
    const { containers, clocks } = this.#machine
    containers.away = false
    for (const container of containers.all.filter((one) => one.state === 'exited')) {
      container.finishedAt = clocks.now()
      this.#machine.later(FORGET_MS, () => containers.remove(container))
    }
  }

  /** Docker unmounts first and shows the container as exited a moment later; its processes are gone before both. */
  #end(container: Container): void {
    const { containers, world } = this.#machine
    if (!container.alive) return
    containers.died(container)
    this.#unmount(container)
    this.#machine.later(world.random.between(1, 150), () => {
      containers.ended(container)
      this.#machine.later(FORGET_MS, () => containers.remove(container))
    })
  }

  #mount(container: Container, done: (error: unknown) => void): void {
    const { world } = this.#machine
    const { volume, mountId } = container
    const startMs = world.timeline.nowMs
    const leftMs = () => MOUNT_DEADLINE_MS - (world.timeline.nowMs - startMs)
    this.#call({
      volume,
      run: async (agent) => {
        await this.#makeSure(agent, volume)
        const { mountpoint } = await agent.mobility.mount(volume, mountId, Math.max(1_000, leftMs()))
        container.mountedId = basename(mountpoint)
      },
      done,
      takeBack: () => this.#unmount(container),
      untilMs: startMs + MOUNT_DEADLINE_MS + ANSWER_GRACE_MS,
      agent: null,
      over: false,
    })
  }

  /** Creates a volume that the driver does not know, as Docker and Swarm do before they mount. */
  async #makeSure(agent: SimAgent, volume: string): Promise<void> {
    const { world } = this.#machine
    try {
      await agent.mobility.get(volume, AbortSignal.abort())
    } catch (error) {
      // In other scenarios nobody makes a container whose volume is about to be removed.
      if (world.scenarios.has('wipe') && codeOf(error) === 'VOLUME_NOT_FOUND')
        await agent.mobility.create(volume, world.options)
    }
  }

  #unmount({ volume, mountId }: Container): void {
    const { world } = this.#machine
    const done = (error: unknown) => {
      if (error !== null) world.trace(this.#machine.host, `docker: unmount failed: ${String(error)}`)
    }
    const untilMs = world.timeline.nowMs + QUICK_DEADLINE_MS
    const run = (agent: SimAgent) => agent.mobility.unmount(volume, mountId)
    this.#call({ volume, run, done, takeBack: () => undefined, untilMs, agent: null, over: false })
  }

  #call(call: Call): void {
    this.#calls.add(call)
    this.#attempt(call)
  }

  #attempt(call: Call): void {
    const { world } = this.#machine
    if (call.over || !this.#calls.has(call)) return
    if (world.timeline.nowMs >= call.untilMs) {
      this.#over(call, new Error('the agent did not reply'))
      return
    }
    const { agent, plugin } = this.#machine
    if (call.agent === null && agent !== null && agent.serves && agent.process.alive && plugin?.process.alive) {
      call.agent = agent
      agent.process.after(0.2, () => this.#carryOut(call, agent))
    }
    const nextMs = call.agent === null ? RETRY_MS + world.random.between(0, RETRY_MS) : 1_000
    this.#machine.later(Math.min(nextMs, call.untilMs - world.timeline.nowMs + 1), () => this.#attempt(call))
  }

  #carryOut(call: Call, agent: SimAgent): void {
    const settle = (error: unknown) => {
      this.#machine.later(0.2, () => {
        if (call.over && error === null) call.takeBack()
        else if (call.agent === agent) this.#over(call, error)
      })
    }
    call.run(agent).then(
      () => settle(null),
      (error: unknown) => {
        this.#machine.world.checker.refused(this.#machine.host, call.volume, error)
        settle(error)
      },
    )
  }

  #over(call: Call, error: unknown): void {
    if (call.over) return
    call.over = true
    this.#calls.delete(call)
    call.done(error)
  }
}
