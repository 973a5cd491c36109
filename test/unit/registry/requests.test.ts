import test from 'ava'
import { z } from 'zod'
import type { JetStreamManager, NatsConnection } from '../../../agent/bus/nats.ts'
import { Bucket } from '../../../agent/registry/bucket.ts'
import { BUCKETS } from '../../../agent/registry/setup.ts'
import { scratch, startHost, type TestHost } from '../bus/server.ts'
import { readyRegistry, volumeRecord } from './records.ts'

/** An object whose member `name` is another one. */
function replace<T extends object, K extends keyof T>(target: T, name: K, member: T[K]): T {
  return new Proxy(target, { get: (from, key) => (key === name ? member : Reflect.get(from, key)) })
}

/** A connection that loses the first `lost` reads of a message, as a stream without a leader does. */
function losing(connection: NatsConnection, lost: number) {
  let reads = 0
  const wrap = (manager: JetStreamManager) => {
    const { streams } = manager
    const getMessage: typeof streams.getMessage = async (...args) => {
      if (++reads <= lost) await new Promise(() => undefined)
      return await streams.getMessage(...args)
    }
    return replace(manager, 'streams', replace(streams, 'getMessage', getMessage))
  }
  const jetstreamManager: NatsConnection['jetstreamManager'] = async (options) =>
    wrap(await connection.jetstreamManager(options))
  return { connection: replace(connection, 'jetstreamManager', jetstreamManager), reads: () => reads }
}

/** A registry with one volume, and its bucket over a connection that loses reads. */
async function bucketOver(host: TestHost, lost: number) {
  await using registry = await readyRegistry(host)
  await registry.addVolume(volumeRecord('data'))
  const { connection, reads } = losing(host.bus.connection(), lost)
  const source = { connection: () => connection, reach: async () => 'all reachable' }
  return { bucket: new Bucket(BUCKETS.volumes, z.looseObject({ name: z.string() }), source), reads }
}

test('a request that is lost while the registry has no leader is sent again', async (t) => {
  await using state = await scratch()
  await using host = await startHost({ stateDir: state.dir })
  const { bucket, reads } = await bucketOver(host, 1)
  t.is((await bucket.read('data'))?.value.name, 'data')
  t.is(reads(), 2)
})

test('a request with a reply is sent once', async (t) => {
  await using state = await scratch()
  await using host = await startHost({ stateDir: state.dir })
  const { bucket, reads } = await bucketOver(host, 0)
  t.is((await bucket.read('data'))?.value.name, 'data')
  await new Promise((resolve) => setTimeout(resolve, 2_500))
  t.is(reads(), 1)
})
