import { codeOf, WherryError } from '../../agent/model/errors.ts'
import type { SimAgent } from './agent.ts'
import type { SimWorld } from './world.ts'

/** An operator who gets no reply asks again, maybe elsewhere. */
const PATIENCE_MS = 45_000
const AGAIN_MS = 2_500
const LOOK_MS = 500
/** A promotion whose reply was lost may still happen: the command's own limit, a stuck agent, a late write. */
const PROMOTE_HAPPENS_MS = 90_000
const PROMOTE_TRIES = 4
/** Share of the promotions that accept a loss. */
const ACCEPT_LOSS = 0.3

/** Share of the refusals for a lost holder after which the operator gives it up. */
const GIVE_UP = 0.5

const NOTHING_TO_VERIFY = new Set(['VOLUME_NOT_FOUND', 'NOT_AT_CHECKPOINT', 'VOLUME_IN_USE'])

interface Promotion {
  readonly volume: string
  readonly host: string
  readonly acceptLoss: boolean
  readonly atMs: number
}

type Ask = (agent: SimAgent) => Promise<unknown>

/**
 * What operators do with the `wherry` and `docker` commands, and what they have asked for so far. Some things must not
 * happen unasked.
 */
export class Operators {
  /** How many are busy with something that they will not leave undone. */
  busy = 0
  /** Names of volumes that an operator is removing, or has removed. */
  readonly removing = new Set<string>()
  /** Names of volumes that an operator removes although their holder is lost. */
  readonly givenUp = new Set<string>()
  readonly #promotions: Promotion[] = []
  readonly #world: SimWorld

  constructor(world: SimWorld) {
    this.#world = world
  }

  create(volume: string): void {
    this.busy++
    this.#insist(null, (agent) => this.#createAt(agent, volume), this.#done)
  }

  /** Moves all copies of a host away. `back`: activates it again later. */
  drain(host: string, back: boolean): void {
    this.busy++
    this.#insist(
      host,
      (agent) => agent.mobility.drain(true),
      () => {
        if (back) this.#world.timeline.after(this.#world.random.between(1_000, 60_000), () => this.#undrain(host))
        else this.busy--
      },
    )
  }

  /** Runs a host's nightly clean-up: removes a volume that no container there has, whatever else refers to it. */
  cleanUp(host: string, volume: string): void {
    const { machine, serving, registry, swarm, trace } = this.#world
    // It was made anew just now, and no service names it yet. One that does so after the removal has asked is too late.
    if (this.removing.has(volume) && !swarm.isNamed(volume)) return
    const agent = serving(host)
    const isUsed = machine(host).containers.all.some((one) => one.volume === volume)
    if (agent === null || isUsed || registry.record(volume) === null) return
    trace('operator', `cleans up ${volume} on ${host}`)
    const ask = () =>
      agent.mobility.remove(volume).then(
        () => trace('operator', `has cleaned up ${volume} on ${host}`),
        (error: unknown) => this.#refused(agent, volume, error),
      )
    agent.process.after(1, () => void ask())
  }

  /** Removes the service and its volume, and most often creates both again. */
  remove(volume: string): void {
    const { random, swarm, timeline, registry } = this.#world
    if (this.removing.has(volume) || registry.record(volume) === null) return
    this.busy++
    this.removing.add(volume)
    swarm.remove(volume)
    this.#await(
      // Nobody waits for a node that is down.
      () => swarm.isLost(volume),
      () =>
        this.#insist(
          null,
          (agent) => this.#removeAt(agent, volume),
          () => {
            this.#world.trace('operator', `has removed ${volume}`)
            if (!random.hit(0.7)) return this.#done()
            timeline.after(random.hit(0.5) ? 0 : random.between(0, 20_000), () => this.#again(volume))
          },
        ),
    )
  }

  /** Promotes a volume: it is taken over without its holder. */
  promote(volume: string, tries = PROMOTE_TRIES): void {
    const { random, checker, timeline, settings } = this.#world
    const agent = this.#anybody()
    const again = () => tries > 1 && timeline.after(random.between(500, 10_000), () => this.promote(volume, tries - 1))
    if (agent === null) return void again()
    const acceptLoss = !checker.planned && random.hit(ACCEPT_LOSS)
    this.#promotions.push({ volume, host: agent.host, acceptLoss, atMs: timeline.nowMs })
    this.#world.trace('operator', `promotes ${volume} on ${agent.host}${acceptLoss ? ', accepting loss' : ''}`)
    const ask = () =>
      agent.mobility.promote(volume, acceptLoss || settings.acceptsUnasked, new AbortController().signal).then(
        () => this.#world.trace('operator', `has promoted ${volume}`),
        (error: unknown) => {
          this.#refused(agent, volume, error)
          again()
        },
      )
    agent.process.after(1, () => void ask())
  }

  /** Whether an operator may have made the host take the volume over just now. `loss`: accepting a loss of data. */
  hasPromoted(volume: string, host: string, loss: boolean): boolean {
    const { nowMs } = this.#world.timeline
    return this.#promotions.some((one) => {
      const matches = one.volume === volume && one.host === host && (one.acceptLoss || !loss)
      return matches && nowMs - one.atMs < PROMOTE_HAPPENS_MS
    })
  }

  /** Has a host verify its copy, in which a change was undone, as often as it takes. */
  verify(host: string, volume: string): void {
    this.busy++
    const ask = (agent: SimAgent) =>
      agent.mobility.verify(volume, new AbortController().signal).catch((error: unknown) => {
        // It is held or wanted there by now, or gone: the change is of no concern any more.
        if (!NOTHING_TO_VERIFY.has(codeOf(error) ?? '')) throw error
      })
    this.#insist(host, ask, this.#done)
  }

  /** Pauses a container on a host, and resumes it some time later. */
  pause(host: string): void {
    const { random, machine, timeline } = this.#world
    const { containers, notes } = machine(host)
    const container = containers.all.find((one) => one.alive && one.state === 'running')
    if (container === undefined || containers.away) return
    this.#world.trace('operator', `pauses ${container.id} on ${host}`)
    container.pausedByOtherMs = timeline.nowMs
    container.pausedByOtherNoted = [...notes.values()].some((note) => note.container === container.id)
    this.#world.checker.freezes.looked(host, container)
    containers.pause(container)
    this.busy++
    const resume = () => {
      if (container.state !== 'paused' || container.pausedByOtherMs === null) return this.#done()
      // Resuming a container while its host is cut off is beyond what a fence can help.
      const safe = this.#world.checker.mayResume(host, container) && !containers.away
      if (!safe) return void timeline.after(LOOK_MS, resume)
      this.#world.trace('operator', `resumes ${container.id} on ${host}`)
      containers.resume(container)
      this.#done()
    }
    timeline.after(random.hit(0.5) ? random.between(100, 3_000) : random.between(3_000, 60_000), resume)
  }

  /** Runs a command in a container, as health checks do all the time. */
  exec(host: string): void {
    const { random, checker, machine, timeline } = this.#world
    const { containers } = machine(host)
    const container = containers.all.find((one) => one.alive && one.state === 'running')
    if (container === undefined || containers.away) return
    const { run } = container
    this.#world.trace('operator', `runs a command in ${container.id} on ${host}`)
    containers.announce(container, 'exec_create')
    timeline.after(random.between(2, 40), () => containers.announce(container, 'exec_start'))
    timeline.after(random.between(45, 200), () => {
      if (container.run === run && container.state === 'running') checker.freezes.looked(host, container)
    })
  }

  /** Rebuilds a registry that came back empty. */
  recover(): void {
    this.busy++
    this.#insist(null, (agent) => this.#recoverAt(agent), this.#done)
  }

  readonly #done = (): void => {
    this.busy--
  }

  async #createAt(agent: SimAgent, volume: string): Promise<void> {
    const { options, registry } = this.#world
    await agent.mobility.create(volume, options)
    const record = registry.record(volume)
    // On the side of a former leader the old volume still has this name. Each task that starts asks for it again.
    if (record === null || record.removedAt !== null) throw new WherryError('VOLUME_BUSY', 'It is not there.')
  }

  async #removeAt(agent: SimAgent, volume: string): Promise<void> {
    await agent.mobility.remove(volume).catch(async (error: unknown) => {
      // An earlier attempt has done it, and its reply was lost.
      if (codeOf(error) === 'VOLUME_NOT_FOUND') return
      if (!String((error as WherryError).hint).includes('--accept-loss') || !this.#world.random.hit(GIVE_UP))
        throw error
      this.#world.trace('operator', `gives up ${volume}`)
      this.givenUp.add(volume)
      const consent = { force: false, acceptLoss: true }
      await agent.mobility.removeWith(volume, consent, new AbortController().signal)
    })
    if (this.#world.registry.record(volume) !== null) throw new WherryError('VOLUME_BUSY', 'It is still there.')
  }

  /** Removes volumes that were made while the registry was empty, in place of those on the disks. */
  async #removeImpostors(agent: SimAgent): Promise<void> {
    const { checker, volumes, registry } = this.#world
    for (const name of volumes.filter((volume) => checker.oracle.standing(volume).length > 1)) {
      if (registry.record(name) === null) continue
      this.removing.add(name)
      await agent.mobility.remove(name)
      this.removing.delete(name)
    }
  }

  #again(volume: string): void {
    this.#insist(
      null,
      (agent) => this.#createAt(agent, volume),
      () => {
        this.#world.trace('operator', `has made ${volume} anew`)
        this.removing.delete(volume)
        this.#world.swarm.run(volume)
        this.#done()
      },
    )
  }

  async #recoverAt(agent: SimAgent): Promise<void> {
    const { volumes, registry, trace } = this.#world
    const { problems, written } = await agent.mobility.recover(new AbortController().signal)
    trace('operator', `recover on ${agent.host}: ${written.join(' ')} written; ${problems.join(' ')}`)
    // What to do then only an operator can tell who knows what is in them.
    if (problems.some((problem) => problem.includes('different volumes of that name'))) {
      this.#world.checker.setBack = true
      return
    }
    await this.#removeImpostors(agent)
    if (problems.length > 0) throw new WherryError('COPY_DAMAGED', problems.join(' '))
    // What was never used is on no disk.
    for (const name of volumes) if (registry.record(name) === null) this.create(name)
  }

  #undrain(host: string): void {
    this.#insist(host, (agent) => agent.mobility.drain(false), this.#done)
  }

  #await(isSo: () => boolean, then: () => void): void {
    if (isSo()) then()
    else this.#world.timeline.after(LOOK_MS, () => this.#await(isSo, then))
  }

  #anybody(): SimAgent | null {
    const serving = this.#world.hosts.flatMap((host) => this.#world.serving(host) ?? [])
    return serving.length === 0 ? null : this.#world.random.pick(serving)
  }

  /** Asks again and again until it is done, on one host or on any that serves. */
  #insist(host: string | null, ask: Ask, done: () => void): void {
    const { timeline, random } = this.#world
    const agent = host === null ? this.#anybody() : this.#world.serving(host)
    let open = true
    const again = () => {
      if (!open) return
      open = false
      timeline.after(random.between(AGAIN_MS / 2, AGAIN_MS), () => this.#insist(host, ask, done))
    }
    timeline.after(agent === null ? 0 : PATIENCE_MS, again, true)
    agent?.process.after(1, () => {
      ask(agent).then(
        () => {
          if (open) done()
          open = false
        },
        (error: unknown) => {
          this.#refused(agent, '', error)
          again()
        },
      )
    })
  }

  #refused(agent: SimAgent, volume: string, error: unknown): void {
    this.#world.trace('operator', `${agent.host} says ${volume} ${codeOf(error) ?? ''} ${String(error)}`)
    this.#world.checker.refused(agent.host, volume, error)
  }
}
