import test from 'ava'
import { z } from 'zod'
import type { NatsConnection } from '../../../agent/bus/nats.ts'
import { Bucket, type ConnectionSource } from '../../../agent/registry/bucket.ts'

/** A stream that leaves the first questions without an answer, as one without a leader does. */
function source(lost: number) {
  let asked = 0
  const message = { seq: 7, time: new Date(), data: Buffer.from('"here"'), header: undefined }
  const getMessage = async () => {
    if (++asked <= lost) await new Promise(() => undefined)
    return message
  }
  const connection = { jetstreamManager: async () => ({ streams: { getMessage } }) }
  const found: ConnectionSource = {
    connection: () => connection as unknown as NatsConnection,
    reach: async () => 'all reachable',
  }
  return { found, asked: () => asked }
}

test('a question that is lost while the registry has no leader is asked again', async (t) => {
  const { found } = source(1)
  const bucket = new Bucket('volumes', z.string(), found)
  t.deepEqual(await bucket.read('data'), { value: 'here', revision: 7 })
})

test('a question that is answered is asked once', async (t) => {
  const { found, asked } = source(0)
  const bucket = new Bucket('volumes', z.string(), found)
  await bucket.read('data')
  await new Promise((resolve) => setTimeout(resolve, 2_500))
  t.is(asked(), 1)
})
