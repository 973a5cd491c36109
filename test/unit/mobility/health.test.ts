import test from 'ava'
import { World } from './world.ts'

test('a host whose nats-server does not run is not ready, although other servers reply, and says why', async (t) => {
  const world = await World.start(3)
  const { agent } = world.host(1)
  t.like(await agent.health(), { ready: true, notes: [] })
  world.host(1).serverTrouble = 'exit code 1 | listen tcp 10.0.0.1:7451: bind: address already in use'
  const health = await agent.health()
  t.like(health, { ready: false, registry: { available: true } })
  t.regex(
    health.notes.join(),
    /^This host's nats-server does not run: exit code 1 .*in use\. Until it runs, the registry/,
  )
  world.host(1).connected = false
  const { registry, notes } = await agent.health()
  t.regex(registry.detail, /This host's nats-server does not run: exit code 1/)
  t.deepEqual(notes, [], 'it is said once')
})
