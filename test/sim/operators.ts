import { codeOf, WherryError } from '../../agent/model/errors.ts'
import type { Agent } from './agent.ts'
import type { World } from './world.ts'

/** A person who gets no answer asks again, maybe elsewhere. */
const PATIENCE_MS = 45_000
const AGAIN_MS = 2_500
const LOOK_MS = 500
/** A promotion whose answer nobody got may still happen: the command's own limit, a stuck agent, a late write. */
const PROMOTE_HAPPENS_MS = 90_000
const PROMOTE_TRIES = 4
/** Share of the promotions that accept a loss. */
const ACCEPT_LOSS = 0.3

/** Share of the refusals for a lost holder after which a person gives it up. */
const GIVE_UP = 0.5

const NOTHING_TO_VERIFY = new Set(['VOLUME_NOT_FOUND', 'NOT_AT_CHECKPOINT', 'VOLUME_IN_USE'])

interface Promotion {
  readonly volume: string
  readonly host: string
  readonly acceptLoss: boolean
  readonly atMs: number
}

type Ask = (agent: Agent) => Promise<unknown>

/** What people do with the `wherry` command and with Docker's, and what they have asked for so far: some things must not happen without them. */
export class People {
  /** How many are at something that they will not leave undone. */
  busy = 0
  /** Names of volumes that somebody is removing, or has removed. */
  readonly removing = new Set<string>()
  /** Names of volumes that somebody removes although their holder is lost. */
  readonly givenUp = new Set<string>()
  readonly #promotions: Promotion[] = []
  readonly #world: World

  constructor(world: World) {
    this.#world = world
  }

  create(volume: string): void {
    this.busy++
    this.#insist(null, (agent) => this.#createAt(agent, volume), this.#done)
  }

  /** Moves all copies of a host away; `back`: until it is wanted again. */
  drain(host: string, back: boolean): void {
    this.busy++
    this.#insist(
      host,
      (agent) => agent.mobility.drain(true),
      () => {
        if (back) this.#world.timeline.after(this.#world.chance.between(1_000, 60_000), () => this.#undrain(host))
        else this.busy--
      },
    )
  }

  /** Runs a host's nightly clean-up: removes a volume that no container there has, whatever else may refer to it. */
  cleanUp(host: string, volume: string): void {
    const { machine, serving, registry, swarm, trace } = this.#world
    // Made anew just now, and no service names it yet: one that does so only after the removal has asked is too late.
    if (this.removing.has(volume) && !swarm.isNamed(volume)) return
    const agent = serving(host)
    const isUsed = machine(host).containers.all.some((one) => one.volume === volume)
    if (agent === null || isUsed || registry.record(volume) === null) return
    trace('person', `cleans up ${volume} on ${host}`)
    const ask = () =>
      agent.mobility.remove(volume).then(
        () => trace('person', `has cleaned up ${volume} on ${host}`),
        (error: unknown) => this.#refused(agent, volume, error),
      )
    agent.life.after(1, () => void ask())
  }

  /** Removes the service and its volume, and most often makes both anew. */
  remove(volume: string): void {
    const { chance, swarm, timeline, registry } = this.#world
    if (this.removing.has(volume) || registry.record(volume) === null) return
    this.busy++
    this.removing.add(volume)
    swarm.remove(volume)
    this.#await(
      // A node that is down is not waited for.
      () => swarm.isLost(volume),
      () =>
        this.#insist(
          null,
          (agent) => this.#removeAt(agent, volume),
          () => {
            this.#world.trace('person', `has removed ${volume}`)
            if (!chance.hit(0.7)) return this.#done()
            timeline.after(chance.hit(0.5) ? 0 : chance.between(0, 20_000), () => this.#again(volume))
          },
        ),
    )
  }

  /** Lets a volume go on without its holder. */
  promote(volume: string, tries = PROMOTE_TRIES): void {
    const { chance, checker, timeline, settings } = this.#world
    const agent = this.#anybody()
    const again = () => tries > 1 && timeline.after(chance.between(500, 10_000), () => this.promote(volume, tries - 1))
    if (agent === null) return void again()
    const acceptLoss = !checker.planned && chance.hit(ACCEPT_LOSS)
    this.#promotions.push({ volume, host: agent.host, acceptLoss, atMs: timeline.nowMs })
    this.#world.trace('person', `promotes ${volume} on ${agent.host}${acceptLoss ? ', accepting loss' : ''}`)
    const ask = () =>
      agent.mobility.promote(volume, acceptLoss || settings.acceptsUnasked, new AbortController().signal).then(
        () => this.#world.trace('person', `has promoted ${volume}`),
        (error: unknown) => {
          this.#refused(agent, volume, error)
          again()
        },
      )
    agent.life.after(1, () => void ask())
  }

  /** Whether a person may have made a host take a volume over just now; `loss`: with the word that data may be lost. */
  hasPromoted(volume: string, host: string, loss: boolean): boolean {
    const { nowMs } = this.#world.timeline
    return this.#promotions.some((one) => {
      const matches = one.volume === volume && one.host === host && (one.acceptLoss || !loss)
      return matches && nowMs - one.atMs < PROMOTE_HAPPENS_MS
    })
  }

  /** Has a host read its copy again, of which something was undone, as often as it takes. */
  verify(host: string, volume: string): void {
    this.busy++
    const ask = (agent: Agent) =>
      agent.mobility.verify(volume, new AbortController().signal).catch((error: unknown) => {
        // It is held or wanted there by now, or it is gone: what was undone is of no concern any more.
        if (!NOTHING_TO_VERIFY.has(codeOf(error) ?? '')) throw error
      })
    this.#insist(host, ask, this.#done)
  }

  /** Pauses a container on a host, and lets it go on some time later. */
  pause(host: string): void {
    const { chance, machine, timeline } = this.#world
    const { containers, notes } = machine(host)
    const container = containers.all.find((one) => one.alive && one.state === 'running')
    if (container === undefined || containers.away) return
    this.#world.trace('person', `pauses ${container.id} on ${host}`)
    container.pausedByOtherMs = timeline.nowMs
    container.pausedByOtherNoted = [...notes.values()].some((note) => note.container === container.id)
    this.#world.checker.looked(host, container)
    containers.pause(container)
    this.busy++
    const resume = () => {
      if (container.state !== 'paused' || container.pausedByOtherMs === null) return this.#done()
      // Whoever lets a container go on while the host is cut off does what a fence cannot help.
      const safe = this.#world.checker.mayResume(host, container) && !containers.away
      if (!safe) return void timeline.after(LOOK_MS, resume)
      this.#world.trace('person', `resumes ${container.id} on ${host}`)
      containers.resume(container)
      this.#done()
    }
    timeline.after(chance.hit(0.5) ? chance.between(100, 3_000) : chance.between(3_000, 60_000), resume)
  }

  /** Runs a command in a container, as health checks do all the time. */
  exec(host: string): void {
    const { chance, checker, machine, timeline } = this.#world
    const { containers } = machine(host)
    const container = containers.all.find((one) => one.alive && one.state === 'running')
    if (container === undefined || containers.away) return
    const { run } = container
    this.#world.trace('person', `runs a command in ${container.id} on ${host}`)
    containers.announce(container, 'exec_create')
    timeline.after(chance.between(2, 40), () => containers.announce(container, 'exec_start'))
    timeline.after(chance.between(45, 200), () => {
      if (container.run === run && container.state === 'running') checker.looked(host, container)
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

  async #createAt(agent: Agent, volume: string): Promise<void> {
    const { options, registry } = this.#world
    await agent.mobility.create(volume, options)
    const record = registry.record(volume)
    // On the side of a former leader the old volume still is the one of this name: it is asked for again, as by each task that starts.
    if (record === null || record.removedAt !== null) throw new WherryError('VOLUME_BUSY', 'It is not there.')
  }

  async #removeAt(agent: Agent, volume: string): Promise<void> {
    await agent.mobility.remove(volume).catch(async (error: unknown) => {
      // An earlier try has done it, and its answer was lost.
      if (codeOf(error) === 'VOLUME_NOT_FOUND') return
      if (!String((error as WherryError).hint).includes('--accept-loss') || !this.#world.chance.hit(GIVE_UP))
        throw error
      this.#world.trace('person', `gives up ${volume}`)
      this.givenUp.add(volume)
      const consent = { force: false, acceptLoss: true }
      await agent.mobility.removeWith(volume, consent, new AbortController().signal)
    })
    if (this.#world.registry.record(volume) !== null) throw new WherryError('VOLUME_BUSY', 'It is still there.')
  }

  /** Volumes that were made while the registry was empty, in place of those that the disks have. */
  async #removeImpostors(agent: Agent): Promise<void> {
    const { checker, volumes, registry } = this.#world
    for (const name of volumes.filter((volume) => checker.truths.standing(volume).length > 1)) {
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
        this.#world.trace('person', `has made ${volume} anew`)
        this.removing.delete(volume)
        this.#world.swarm.run(volume)
        this.#done()
      },
    )
  }

  async #recoverAt(agent: Agent): Promise<void> {
    const { volumes, registry, trace } = this.#world
    const { problems, written } = await agent.mobility.recover(new AbortController().signal)
    trace('person', `recover on ${agent.host}: ${written.join(' ')} written; ${problems.join(' ')}`)
    // What to do then is for a person who knows what is in them.
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

  #anybody(): Agent | null {
    const serving = this.#world.hosts.flatMap((host) => this.#world.serving(host) ?? [])
    return serving.length === 0 ? null : this.#world.chance.pick(serving)
  }

  /** Asks again and again, on one host or on whichever answers, until it is done. */
  #insist(host: string | null, ask: Ask, done: () => void): void {
    const { timeline, chance } = this.#world
    const agent = host === null ? this.#anybody() : this.#world.serving(host)
    let open = true
    const again = () => {
      if (!open) return
      open = false
      timeline.after(chance.between(AGAIN_MS / 2, AGAIN_MS), () => this.#insist(host, ask, done))
    }
    timeline.after(agent === null ? 0 : PATIENCE_MS, again, true)
    agent?.life.after(1, () => {
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

  #refused(agent: Agent, volume: string, error: unknown): void {
    this.#world.trace('person', `${agent.host} says ${volume} ${codeOf(error) ?? ''} ${String(error)}`)
    this.#world.checker.answered(agent.host, volume, error)
  }
}
