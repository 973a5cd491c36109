import test from 'ava'
import type { Mobility } from '../../../agent/mobility/contract.ts'
import { codeOf } from '../../../agent/model/errors.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { World } from './world.ts'

const never = new AbortController().signal

/** What an operator asks, with how many seconds it may take and how it may end while the registry does not reply. */
const QUESTIONS: Readonly<
  Record<string, readonly [(agent: Mobility) => Promise<unknown>, number, string | undefined]>
> = {
  get: [(agent) => agent.get('data', never), 4, undefined],
  list: [(agent) => agent.list(), 4, undefined],
  hosts: [(agent) => agent.hosts(), 1, undefined],
  moves: [(agent) => agent.moves(), 1, undefined],
  health: [(agent) => agent.health(), 1, undefined],
  drain: [(agent) => agent.drain(true), 4, 'REGISTRY_UNAVAILABLE'],
  verify: [(agent) => agent.verify('data', never), 10, 'REGISTRY_UNAVAILABLE'],
  promote: [(agent) => agent.promote('data', false, never), 10, 'REGISTRY_UNAVAILABLE'],
  removeWith: [
    (agent) => agent.removeWith('data', { force: false, acceptLoss: false }, never),
    10,
    'REGISTRY_UNAVAILABLE',
  ],
  remove: [(agent) => agent.remove('data'), 10, 'REGISTRY_UNAVAILABLE'],
  create: [(agent) => agent.create('other', DEFAULT_OPTIONS), 20, 'REGISTRY_UNAVAILABLE'],
  recover: [(agent) => agent.recover(never), 10, 'REGISTRY_UNAVAILABLE'],
}

for (const [name, [ask, seconds, code]] of Object.entries(QUESTIONS)) {
  test(`without a registry, ${name} ends within ${seconds} s`, async (t) => {
    const world = await World.start(2)
    await world.host(1).agent.create('data', DEFAULT_OPTIONS)
    await world.use(1, 'data', 'one')
    await world.clock.advance(20_000)
    await world.host(1).agent.list()
    world.registry.away = true
    await world.clock.advance(30_000)
    const before = world.clock.elapsedMs()
    const asked = ask(world.host(1).agent).then(
      () => undefined,
      (error: unknown) => codeOf(error) ?? String(error),
    )
    t.is(await world.clock.until(asked), code)
    const took = (world.clock.elapsedMs() - before) / 1000
    t.true(took <= seconds + 0.3, `${took} s`)
  })
}
