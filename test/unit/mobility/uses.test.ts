import test from 'ava'
import type { Engine, VolumeUser } from '../../../agent/docker/contract.ts'
import type { Clock } from '../../../agent/mobility/parts.ts'
import { Uses } from '../../../agent/mobility/uses.ts'
import { VirtualClock } from './clock.ts'

/** An engine with one container, which had stopped once before. */
function ground() {
  const clock = new VirtualClock()
  let wallMs = 0
  const container: VolumeUser & { state: string } = { id: 'c', name: 'db', state: 'exited', volumes: ['data'] }
  let finished = new Date(clock.now().getTime() - 60_000)
  const engine = { users: async () => [{ ...container }], finishedAt: async () => finished } as unknown as Engine
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
    uses: new Uses(engine, stepped),
    stepClock: (ms: number) => {
      wallMs += ms
    },
    end: (at: Date) => {
      container.state = 'exited'
      finished = at
    },
  }
}

/** Looks once; whether the volume's uses are over. */
async function look(g: ReturnType<typeof ground>, uses = 1): Promise<boolean> {
  await g.uses.refresh()
  return await g.uses.isOver('id', 'data', uses, true)
}

test('promise 1: a container that is being started keeps its volume, although the clock was stepped back since it last stopped', async (t) => {
  const g = ground()
  g.stepClock(-3_600_000)
  g.uses.mounted('id', 'data')
  for (let second = 0; second < 30; second++) {
    await g.clock.advance(1_000)
    t.false(await look(g), `${second} s`)
  }
})

test('a container that ran and stopped since the Mount, unseen, is over after two looks that are apart', async (t) => {
  const g = ground()
  g.uses.mounted('id', 'data')
  await g.clock.advance(1_000)
  g.end(new Date(g.now().getTime() - 3_600_000))
  t.false(await look(g))
  t.false(await look(g), 'a look right after the first is none of its own')
  await g.clock.advance(1_000)
  t.true(await look(g))
})

test('promise 1: a container that is being started keeps its volume while another one, which ran before, ends', async (t) => {
  const g = ground()
  g.container.state = 'running'
  g.uses.mounted('id', 'data')
  await g.clock.advance(1_000)
  t.false(await look(g, 2))
  g.end(g.now())
  await g.clock.advance(1_000)
  t.false(await look(g, 2))
  g.uses.unmounted('id')
  for (let second = 0; second < 30; second++) {
    await g.clock.advance(1_000)
    t.false(await look(g, 1), `${second} s`)
  }
})

test('uses whose containers all ran when the agent was started are over when these have ended', async (t) => {
  const g = ground()
  g.container.state = 'running'
  t.false(await look(g))
  await g.clock.advance(1_000)
  g.end(g.now())
  t.false(await look(g))
  await g.clock.advance(1_000)
  t.true(await look(g))
})

test('promise 1: a container that is being started keeps its volume, although the engine still lists the one before as running', async (t) => {
  const g = ground()
  g.container.state = 'running'
  g.uses.unmounted('id')
  g.uses.mounted('id', 'data')
  await g.clock.advance(1_000)
  t.false(await look(g))
  g.end(g.now())
  for (let second = 0; second < 30; second++) {
    await g.clock.advance(1_000)
    t.false(await look(g), `${second} s`)
  }
})

test('a container that ended after the agent was started, and before it looked, had its use', async (t) => {
  const g = ground()
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
  const g = ground()
  g.end(new Date(g.now().getTime() + 3_600_000))
  for (let second = 0; second < 30; second++) {
    await g.clock.advance(1_000)
    t.false(await look(g), `${second} s`)
  }
})
