import test from 'ava'
import { isMadeOutFor } from '../../../agent/host/certificate-names.ts'

test('a certificate is made out for the addresses that it names, and for no other', (t) => {
  const names = 'DNS:h1.example.org, IP Address:10.0.0.1, IP Address:FD00:0:0:0:0:0:0:1'
  for (const address of ['h1.example.org', 'H1.example.org', '10.0.0.1', 'fd00::1'])
    t.true(isMadeOutFor(names, address), address)
  for (const address of ['h2.example.org', 'h1', '10.0.0.10', '10.0.0.2', 'fd00::2', 'example.org', ''])
    t.false(isMadeOutFor(names, address), address)
  t.false(isMadeOutFor('', '10.0.0.1'))
  t.false(isMadeOutFor('', ''))
})

test('a name that only looks like more names is one name', (t) => {
  t.false(isMadeOutFor('DNS:"h1, IP Address:10.0.0.1"', '10.0.0.1'))
  t.false(isMadeOutFor('URI:"http://x/, DNS:h1"', 'h1'))
  t.false(isMadeOutFor('DNS:10.0.0.1', '10.0.0.1'))
  t.false(isMadeOutFor('email:h1', 'h1'))
})
