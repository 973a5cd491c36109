import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { openEngineFacts } from '../../../agent/host/engine-facts.ts'

test("a host's name outlives its agent; a file that cannot be understood is written anew", async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'wherry-engine-'))
  t.teardown(() => rm(dir, { recursive: true, force: true }))
  const facts = { name: 'h3', swarmNode: 'n3', zone: 'east' }
  const first = await openEngineFacts(dir)
  t.is(first.get(), null)
  await first.set(facts)
  t.deepEqual(first.get(), facts)
  t.deepEqual((await openEngineFacts(dir)).get(), facts)
  await writeFile(join(dir, 'engine.json'), '{"name":')
  const damaged = await openEngineFacts(dir)
  t.is(damaged.get(), null)
  await damaged.set(facts)
  t.deepEqual((await openEngineFacts(dir)).get(), facts)
})
