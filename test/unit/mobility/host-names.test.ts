import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { pino } from 'pino'
import { openHostNames } from '../../../agent/host/host-names.ts'
import { KnownHosts } from '../../../agent/mobility/lease/host-directory.ts'
import { viewHosts } from '../../../agent/mobility/volume/view.ts'
import { systemClock } from '../../../agent/runtime/clock.ts'
import { untilTrue } from '../until.ts'

const log = pino({ level: 'silent' })

async function directory(t: ExecutionContext): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'wherry-names-'))
  t.teardown(() => rm(dir, { recursive: true, force: true }))
  return dir
}

test('hosts keep their names over a restart of the agent, before the registry replies', async (t) => {
  const dir = await directory(t)
  const names = await openHostNames(dir, log)
  names.note('A', { name: 'h1', address: '10.0.0.1' })
  names.note('B', { name: 'h2', address: '10.0.0.2' })
  await untilTrue(async () => (await readFile(join(dir, 'hosts.json'), 'utf8').catch(() => '')).includes('h2'))

  const hosts = new KnownHosts(systemClock, 8_000, await openHostNames(dir, log))
  t.is(hosts.label('B'), 'h2 (10.0.0.2)')
  t.is(hosts.nameOf('A'), 'h1')
  t.is(hosts.label('C'), 'host C')
  const context = { hosts, dependencies: { self: { id: 'A' } }, stateDisk: { trouble: null } }
  const views = viewHosts(context as never)
  t.like(views, [
    { name: 'h1', self: true, stale: true, lastSeen: '' },
    { name: 'h2', self: false, stale: true, alive: false },
  ])
  t.true(Date.now() - Date.parse(views[0]?.staleSince ?? '') < 60_000, 'since this agent started')
})

test('a host that calls itself by its address until its engine replies keeps the name that it had', async (t) => {
  const dir = await directory(t)
  const names = await openHostNames(dir, log)
  names.note('A', { name: 'h1', address: '10.0.0.1' })
  names.note('A', { name: '10.0.0.1', address: '10.0.0.1' })
  t.deepEqual(names.get('A'), { name: 'h1', address: '10.0.0.1' })
  names.note('A', { name: 'renamed', address: '10.0.0.1' })
  t.is(names.get('A')?.name, 'renamed')
  await untilTrue(async () => (await readFile(join(dir, 'hosts.json'), 'utf8').catch(() => '')).includes('renamed'))
})

test('a file that cannot be read names nobody, and is written again', async (t) => {
  const dir = await directory(t)
  await writeFile(join(dir, 'hosts.json'), '{"A": 1')
  const names = await openHostNames(dir, log)
  t.deepEqual(names.all(), {})
  names.note('A', { name: 'h1', address: '10.0.0.1' })
  await untilTrue(async () => (await readFile(join(dir, 'hosts.json'), 'utf8')).includes('h1'))
  t.is((await openHostNames(dir, log)).get('A')?.name, 'h1')
})
