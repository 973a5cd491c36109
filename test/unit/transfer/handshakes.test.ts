import test from 'ava'
import { FailedHandshakes } from '../../../agent/transfer/send/failed-handshakes.ts'
import { Handshakes, type Unproved } from '../../../agent/transfer/send/handshakes.ts'
import { networkOf } from '../../../agent/transfer/send/network-of.ts'

/** A client that said something at `shakingSinceMs`, or nothing yet. */
const client = (network: string, shakingSinceMs: number | null = null) => ({ network, shakingSinceMs })

test('a network that uses up its share loses its own oldest client that says nothing', (t) => {
  const handshakes = new Handshakes<Unproved>(2, 10)
  const [first, second] = [client('a'), client('a')]
  t.is(handshakes.enter(client('b'), 0), undefined)
  t.is(handshakes.enter(first, 0), undefined)
  t.is(handshakes.enter(second, 0), undefined)
  t.is(handshakes.enter(client('a'), 0), first)
  handshakes.leave(second)
  handshakes.leave(second)
  t.is(handshakes.enter(client('a'), 0), undefined)
})

test('a handshake that goes on is not ended for a new client; one that rests is', (t) => {
  const handshakes = new Handshakes<Unproved>(2, 10)
  const [resting, running, late] = [client('a', 0), client('a', 900), client('a')]
  handshakes.enter(resting, 0)
  handshakes.enter(running, 900)
  t.is(handshakes.enter(late, 950), late)
  t.is(handshakes.enter(client('a', 1_001), 1_001), resting)
  t.is(handshakes.enter(late, 1_002), late)
})

test('with all places taken the most crowded network loses one, whoever comes', (t) => {
  const handshakes = new Handshakes<Unproved>(4, 5)
  const host = client('host')
  handshakes.enter(host, 0)
  const crowd = [client('crowd'), client('crowd'), client('crowd')]
  for (const one of crowd) handshakes.enter(one, 0)
  t.is(handshakes.enter(client('late'), 0), undefined)
  t.is(handshakes.enter(client('later'), 0), crowd[0])
  t.is(handshakes.enter(client('latest'), 0), crowd[1])
})

test('an IPv6 network of 64 bits counts as one, an IPv4 address as itself', (t) => {
  t.is(networkOf('10.0.0.1'), '10.0.0.1')
  t.is(networkOf('::ffff:10.0.0.1'), '10.0.0.1')
  t.is(networkOf('2001:db8::1'), networkOf('2001:db8:0:0:ffff:1:2:3'))
  t.is(networkOf('2001:db8::1'), networkOf('2001:0DB8::'))
  t.not(networkOf('2001:db8:0:1::1'), networkOf('2001:db8::1'))
  t.is(networkOf('fe80::1%eth0'), networkOf('fe80::2%eth0'))
  t.not(networkOf('::1'), networkOf('fe80::1'))
})

test('a network that fails its handshakes is held up, and no other one', (t) => {
  const failed = new FailedHandshakes()
  for (let nth = 0; nth < 64; nth++) {
    t.true(failed.mayBegin('crowd', 0))
    failed.note('crowd', 0)
  }
  t.false(failed.mayBegin('crowd', 0))
  t.true(failed.mayBegin('host', 0))
  t.true(failed.mayBegin('crowd', 100), 'some more each second')
  for (let nth = 0; nth < 1_000; nth++) failed.note(`network ${nth}`, 100)
  t.false(failed.mayBegin('network 1', 100), 'many networks together have a limit as well')
  t.true(failed.mayBegin('host', 100))
})
