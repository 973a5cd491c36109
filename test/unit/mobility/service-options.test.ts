import test from 'ava'
import type { PlacedTask } from '../../../agent/docker/contract.ts'
import { ServiceOptions } from '../../../agent/mobility/swarm/service-options.ts'
import type { VolumeRecord } from '../../../agent/model/model.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'

function ground() {
  const said: unknown[] = []
  const compared = new ServiceOptions({ warn: (about: unknown) => void said.push(about) })
  const record = { id: 'id', name: 'data', options: { ...DEFAULT_OPTIONS, mode: 0o750, uid: 70 } } as VolumeRecord
  return {
    said,
    asks: (...options: PlacedTask['options'][string][]) =>
      compared.compare(
        options.map((given, nth) => {
          return { task: `t${nth}`, service: 's', node: 'n', volumes: ['data'], options: { data: given } }
        }),
        new Map([['data', record]]),
      ),
  }
}

test('a service that asks for other options than its volume has is warned of once for each change', (t) => {
  const { said, asks } = ground()
  const other = { mode: '0700', uid: '70', nfs: 'x' }
  for (let n = 0; n < 3; n++) asks(other, other)
  t.deepEqual(said, [
    {
      volume: 'data',
      service: 's',
      asked: 'mode=0700 nfs=x',
      options: 'uid=70 gid=0 mode=0750 copies=2 checkpoint=auto consistency=pause failover=auto on_isolation=pause',
    },
  ])
  asks({ mode: '0750' })
  asks(other)
  t.is(said.length, 2)
})

test('options that a volume has are no reason for a warning, whatever else it has', (t) => {
  const { said, asks } = ground()
  asks({ mode: '750' }, { uid: '70', checkpoint: 'auto' }, {})
  t.deepEqual(said, [])
})
