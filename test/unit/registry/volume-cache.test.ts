import test from 'ava'
import { WherryError } from '../../../agent/model/errors.ts'
import type { VolumeRecord } from '../../../agent/model/model.ts'
import { VolumeCache } from '../../../agent/registry/cache.ts'
import type { RecordChange, Versioned } from '../../../agent/registry/contract.ts'
import { volumeRecord } from './records.ts'

test('records of a registry in place of a lost one replace what is known, whatever their revisions', async (t) => {
  const entry = (epoch: number, revision: number) => ({ value: volumeRecord('data', { epoch }), revision })
  let stored: Versioned<VolumeRecord>[] = [entry(1, 100)]
  let wake: (change: RecordChange | null) => void = () => {}
  const away = async () => {
    throw new WherryError('REGISTRY_UNAVAILABLE', 'away')
  }
  const registry = {
    volume: away,
    volumes: away,
    followedVolumes: async () => stored,
    watch: (told: typeof wake) => {
      wake = told
    },
  }
  const cache = new VolumeCache({ registry })
  cache.follow(new AbortController().signal)
  const epochsAfterWake = async () => {
    wake(null)
    await new Promise(setImmediate)
    const { entries, stale } = await cache.list()
    t.true(stale)
    return entries.map(({ value }) => value.epoch)
  }
  t.deepEqual(await epochsAfterWake(), [1])
  stored = [entry(2, 7)]
  t.deepEqual(await epochsAfterWake(), [2])
})
