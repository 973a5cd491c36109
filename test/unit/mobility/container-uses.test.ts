import test from 'ava'
import type { VolumeUser } from '../../../agent/docker/contract.ts'
import { EngineUses } from '../../../agent/mobility/hold/container-uses.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import type { Clock } from '../../../agent/runtime/clock.ts'
import type { LocalCopy } from '../../../agent/store/contract.ts'
import { bareCopy } from '../../../agent/store/disk/new-copy.ts'
import { VirtualClock } from '../../fake/clock.ts'
import { engineUnreachable } from '../../fake/engine.ts'

/** An engine with one container, which had stopped once before. */
function ground() {
  const clock = new VirtualClock()
  let wallMs = 0
  const container: VolumeUser & { state: string; volumes: string[] } = {
    id: 'c',
    name: 'db',
    state: 'exited',
    volumes: ['data'],
  }
  let finished = new Date(clock.now().getTime() - 60_000)
  const engine = { users: async () => [{ ...container }], finishedAt: async () => finished }
  const stepped: Clock = {
    now: () => new Date(clock.now().getTime() + wallMs),
    elapsedMs: () => clock.elapsedMs(),
    sleep: (ms, signal) => clock.sleep(ms, signal),
    deadline: (ms) => clock.deadline(ms),
  }
  return {
    clock,
    now: () => stepped.now(),
    container,
    uses: new EngineUses(engine, stepped),
    /** What the host's disk says. */
    copy: bareCopy({ id: 'id', name: 'data', options: DEFAULT_OPTIONS }),
    /** The agent starts anew: what was only in memory is gone. */
    restart() {
      this.uses = new EngineUses(engine, stepped)
    },
    mount() {
      const mounts = { m: (this.copy.mounts.m ?? 0) + 1 }
      this.copy = { ...this.copy, mounts, uses: this.uses.mounted(this.copy) }
    },
    unmount() {
      this.copy = {
        ...this.copy,
        mounts: { m: (this.copy.mounts.m ?? 0) - 1 },
        uses: this.uses.unmounted(this.copy.uses),
      }
    },
    stepClock: (ms: number) => {
      wallMs += ms
    },
    end: (at: Date) => {
      container.state = 'exited'
      finished = at
    },
  }
}

/** Looks once, as housekeeping does; whether the volume's uses are over. */
async function look(g: ReturnType<typeof ground>): Promise<boolean> {
  await g.uses.refresh()
  const { id, name, uses } = g.copy
  if (uses.ground === null) {
    keep(g, await g.uses.survey(id, name))
    return false
  }
  const seen = await g.uses.seenSince(name, uses.ground)
  keep(g, seen)
  return g.uses.haveEnded(g.copy, seen, true)
}

function keep(g: ReturnType<typeof ground>, found: LocalCopy['uses']['ground']): void {
  g.copy = { ...g.copy, uses: { ...g.copy.uses, ground: found } }
}

/** A use that an agent before this one has counted. */
function inherited(): ReturnType<typeof ground> {
  const g = ground()
  g.copy = { ...g.copy, mounts: { m: 1 } }
  return g
}

/** A Mount, and the look at the containers that follows it at once. */
async function mount(g: ReturnType<typeof ground>): Promise<void> {
  g.mount()
  keep(g, await g.uses.survey(g.copy.id, g.copy.name))
}

test('promise 1: a container that is being started keeps its volume, although the clock was stepped back since it last stopped', async (t) => {
  const g = ground()
  g.stepClock(-3_600_000)
  await mount(g)
  for (let second = 0; second < 30; second++) {
    await g.clock.advance(1_000)
    t.false(await look(g), `${second} s`)
  }
})

test('a container that ran and stopped since the Mount, unseen, is over after two looks that are apart', async (t) => {
  const g = ground()
  await mount(g)
  await g.clock.advance(1_000)
  g.end(new Date(g.now().getTime() - 3_600_000))
  t.false(await look(g))
  t.false(await look(g), 'a look right after the first is none of its own')
  await g.clock.advance(1_000)
  t.true(await look(g))
})

test('promise 1: a container that is being started keeps its volume while another one, which ran before, ends', async (t) => {
  const g = inherited()
  g.container.state = 'running'
  await mount(g)
  await g.clock.advance(1_000)
  t.false(await look(g))
  g.end(g.now())
  await g.clock.advance(1_000)
  t.false(await look(g))
  g.unmount()
  for (let second = 0; second < 30; second++) {
    await g.clock.advance(1_000)
    t.false(await look(g), `${second} s`)
    if (second === 10) g.restart()
  }
})

test('uses whose containers all ran when the agent was started are over when these have ended', async (t) => {
  const g = inherited()
  g.container.state = 'running'
  t.false(await look(g))
  await g.clock.advance(1_000)
  g.end(g.now())
  t.false(await look(g))
  await g.clock.advance(1_000)
  t.true(await look(g))
})

test('promise 1: a container that is being started keeps its volume, although the engine still lists the one before as running', async (t) => {
  const g = inherited()
  g.container.state = 'running'
  g.unmount()
  await mount(g)
  await g.clock.advance(1_000)
  t.false(await look(g))
  g.restart()
  g.end(g.now())
  for (let second = 0; second < 30; second++) {
    await g.clock.advance(1_000)
    t.false(await look(g), `${second} s`)
  }
})

test('a container that ended after the agent was started, and before it looked, had its use', async (t) => {
  const g = inherited()
  await g.clock.advance(1_000)
  g.end(g.now())
  await g.clock.advance(1_000)
  t.false(await look(g))
  await g.clock.advance(1_000)
  t.false(await look(g))
  await g.clock.advance(1_000)
  t.true(await look(g))
})

test('promise 1: an end that is yet to come, after the clock was stepped back, is none', async (t) => {
  const g = inherited()
  g.end(new Date(g.now().getTime() + 3_600_000))
  for (let second = 0; second < 30; second++) {
    await g.clock.advance(1_000)
    t.false(await look(g), `${second} s`)
  }
})

test('a container that stopped while no agent was there is over for the next one, however often agents start anew', async (t) => {
  const g = ground()
  await mount(g)
  await g.clock.advance(1_000)
  g.container.state = 'running'
  t.false(await look(g))
  g.end(g.now())
  await g.clock.advance(60_000)
  g.restart()
  t.false(await look(g))
  await g.clock.advance(1_000)
  g.restart()
  t.false(await look(g), 'a look of an agent that is gone does not count')
  await g.clock.advance(1_000)
  t.true(await look(g))
})

test('a container that was seen to run had its use, although it was removed while no agent was there', async (t) => {
  const g = ground()
  await mount(g)
  await g.clock.advance(1_000)
  g.container.state = 'running'
  t.false(await look(g))
  g.container.volumes = []
  g.restart()
  t.false(await look(g))
  await g.clock.advance(1_000)
  t.true(await look(g))
})

test('promise 1: a container that no agent has seen yet keeps its volume, however often agents start anew', async (t) => {
  const g = ground()
  await mount(g)
  for (let second = 0; second < 30; second++) {
    await g.clock.advance(1_000)
    if (second % 3 === 0) g.restart()
    t.false(await look(g), `${second} s`)
  }
})

test('an answer to an older question does not take the place of a newer one, whenever it comes', async (t) => {
  const clock = new VirtualClock()
  const answers: PromiseWithResolvers<VolumeUser[]>[] = []
  const users = () => {
    const answer = Promise.withResolvers<VolumeUser[]>()
    answers.push(answer)
    return answer.promise
  }
  const uses = new EngineUses({ users, finishedAt: async () => null }, clock)
  const older = uses.refresh()
  await clock.advance(100)
  const newer = uses.refresh()
  const running = { id: 'c', name: 'db', state: 'running', volumes: ['data'] } as const
  answers[1]?.resolve([{ ...running, volumes: ['data'] }])
  await newer
  t.deepEqual(uses.writing('data'), ['db'])
  answers[0]?.resolve([])
  t.deepEqual(await older, [], 'whoever asked gets what it asked for')
  t.deepEqual(uses.writing('data'), ['db'])
})

test('a container that was never started is not inspected: while it waits for its volumes, engines do not reply', async (t) => {
  const ended = new Date(1_000)
  const user = (id: string, state: string) => ({ id, name: id, state, volumes: ['data'] })
  const users = [user('starting', 'created'), user('old', 'exited')]
  const finishedAt = async (id: string) => {
    if (id === 'starting') throw engineUnreachable()
    return ended
  }
  const uses = new EngineUses({ users: async () => users, finishedAt }, new VirtualClock())
  const found = await uses.survey('id', 'data')
  t.deepEqual(found, { ends: { starting: null, old: 1_000 }, live: [], since: [] })
  await uses.refresh()
  t.is(await uses.seenSince('data', found), found)
})

test('asking for the containers of every held volume costs no more with more containers', async (t) => {
  let reads = 0
  const users = Array.from({ length: 1_000 }, (_, nth): VolumeUser => {
    const volumes = [`volume-${nth}`, `volume-${nth}`]
    return {
      ...{ id: `id-${nth}`, name: `db-${nth}`, state: 'running' },
      get volumes() {
        reads++
        return volumes
      },
    }
  })
  const uses = new EngineUses({ users: async () => users, finishedAt: async () => null }, new VirtualClock())
  await uses.refresh()
  reads = 0
  for (let nth = 0; nth < 1_000; nth++) t.deepEqual(uses.live(`volume-${nth}`), [`db-${nth}`])
  t.is(reads, 0)
  t.deepEqual(uses.live('another'), [])
})
