import { networkInterfaces } from 'node:os'
import test from 'ava'
import { findOwnAddress } from '../../../agent/host/own-address.ts'

/** A machine with these addresses; `db2` is a name of one of them. */
const machine = (...local: readonly string[]) => ({
  local: () => local,
  resolve: async (name: string) => {
    if (name !== 'db2') throw new Error('ENOTFOUND')
    return ['fd00::99', '10.0.0.2']
  },
})

for (const [what, peers, local, own] of [
  ['its IPv4 address', ['10.0.0.1', '10.0.0.2'], ['127.0.0.1', '10.0.0.2'], '10.0.0.2'],
  ['its IPv6 address, however it is written', ['fd00::1', 'fd00:0::02'], ['::1', 'fd00::2'], 'fd00:0::02'],
  ['its name', ['db1', 'db2', 'db3'], ['10.0.0.2'], 'db2'],
] as const) {
  test(`a host finds ${what} among those of all hosts`, async (t) => {
    t.is(await findOwnAddress(peers, machine(...local)), own)
  })
}

test('a list that does not say which host this is, is refused with the addresses of the host', async (t) => {
  const none = findOwnAddress(['10.0.0.1', 'db1'], machine('127.0.0.1', '10.0.0.7'))
  const message = /None of WHERRY_PEERS \(10\.0\.0\.1, db1\) is an address of this host, which has .*10\.0\.0\.7\./
  await t.throwsAsync(none, { code: 'SETTING_INVALID', message })
  const both = findOwnAddress(['10.0.0.1', '10.0.0.2', 'db2'], machine('10.0.0.2'))
  await t.throwsAsync(both, { code: 'SETTING_INVALID', message: /more than once: 10\.0\.0\.2, db2/ })
})

test("the machine's own interfaces are asked unless told otherwise", async (t) => {
  const [address = ''] = Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map((one) => one.address))
  t.is(await findOwnAddress(['192.0.2.1', address]), address)
})
