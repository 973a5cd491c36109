import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import test from 'ava'
import type { Endpoint } from '../../../agent/bus/endpoint.ts'
import { probeServers, summarize } from '../../../agent/bus/probe.ts'

test('a server that TCP reaches and that never replies is told of as a path that may lose large packets', async (t) => {
  await using mute = createServer().listen(0, '127.0.0.1')
  await once(mute, 'listening')
  const server = `127.0.0.1:${(mute.address() as AddressInfo).port}`
  const endpoint: Endpoint = { servers: [server], tls: null, tlsFirst: false, login: null, inbox: null }
  const said = summarize(await probeServers(endpoint))
  t.regex(said, /0 of 1 .*: no reply within 2 s after TCP had connected .*compare the MTUs/)
})
