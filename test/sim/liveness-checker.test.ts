import test from 'ava'
import { LivenessChecker } from './liveness-checker.ts'
import type { SimWorld } from './world.ts'

/** Whether h1 can renew, as the checker sees it: the heartbeats have a leader, the records may have none. */
function renews(isLost: boolean, hasRecords: boolean): boolean {
  const agent = { serves: true, process: { alive: true, stuckUntilMs: 0 } }
  const machine = { on: true, stopped: false, agent, plugin: { process: { alive: true } } }
  const registry = {
    isImpostor: false,
    serverOf: () => 'h1',
    hosts: { writable: () => true },
    volumes: { writable: () => hasRecords },
    host: () => (isLost ? null : { id: 'h1' }),
  }
  const world = { timeline: { nowMs: 0 }, machine: () => machine, registry }
  return new LivenessChecker(world as unknown as SimWorld).renews('h1')
}

test('a host whose heartbeat the registry has lost cannot renew while the records have no leader', (t) => {
  t.true(renews(false, false))
  t.false(renews(true, false))
  t.true(renews(true, true))
})
