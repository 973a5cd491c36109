import test from 'ava'
import type { VolumeUser } from '../../../agent/docker/contract.ts'
import type { Pause, Pauses } from '../../../agent/fence/contract.ts'
import { pauseGuarded } from '../../../agent/fence/guarded-pause.ts'

const MANY = 1_000

test('which containers to pause is found in one pass over containers and guarded volumes', async (t) => {
  let reads = 0
  const volumes = Array.from({ length: MANY }, (_, nth) => ({
    ...{ id: `id-${nth}`, epoch: 1 },
    get name() {
      reads++
      return `volume-${nth}`
    },
  }))
  const states = ['running', 'restarting', 'exited', 'paused']
  const users = Array.from({ length: MANY }, (_, nth): VolumeUser => {
    const mounts = [`volume-${nth}`, `volume-${nth}`, 'another', `volume-${(nth + 1) % MANY}`]
    return { id: `c-${nth}`, name: `db-${nth}`, state: states[nth % 4] ?? '', volumes: mounts }
  })
  const paused: Pause[] = []
  const pause = async (due: readonly Pause[]) => {
    paused.push(...due)
    return due
  }
  const pauses = { pause } as unknown as Pauses
  const idle = { id: 'idle', name: 'idle', state: 'running', volumes: ['another'] }
  await pauseGuarded({ pauses, engine: { users: async () => [...users, idle] } }, { volumes })
  t.is(paused.length, MANY / 2)
  t.deepEqual(paused[0], { container: 'c-0', volumes: ['id-0', 'id-1'] })
  t.is(paused[1]?.container, 'c-1')
  t.is(reads, MANY)
})
