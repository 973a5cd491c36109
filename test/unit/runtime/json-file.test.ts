import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { openDrainFlag } from '../../../agent/host/drain-flag.ts'
import { openEngineFacts } from '../../../agent/host/engine-facts.ts'
import { writeFields } from '../../../agent/runtime/json-file.ts'

test('a change of some fields of a file keeps those of a newer version', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'wherry-json-'))
  t.teardown(() => rm(dir, { recursive: true, force: true }))
  const read = async (name: string) => JSON.parse(await readFile(join(dir, name), 'utf8'))
  const newer = { newer: { deep: [1] }, more: 2 }
  await writeFile(join(dir, 'drain.json'), JSON.stringify({ drain: false, ...newer }))
  const flag = await openDrainFlag(dir)
  await flag.set(true)
  t.deepEqual(await read('drain.json'), { drain: true, ...newer })
  await writeFile(join(dir, 'engine.json'), JSON.stringify({ name: 'h1', swarmNode: null, zone: null, ...newer }))
  const facts = await openEngineFacts(dir)
  await facts.set({ name: 'h2', swarmNode: 'n', zone: null })
  t.deepEqual(await read('engine.json'), { name: 'h2', swarmNode: 'n', zone: null, ...newer })
})

test('a file that is missing, or holds no object, is written anew, and no prototype is changed', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'wherry-json-'))
  t.teardown(() => rm(dir, { recursive: true, force: true }))
  const path = join(dir, 'file.json')
  for (const before of [null, '', '{"a":', '[1, 2]', '"text"', 'null']) {
    if (before === null) await rm(path, { force: true })
    else await writeFile(path, before)
    await writeFields(path, { one: 1 })
    t.is(await readFile(path, 'utf8'), '{"one":1}\n', String(before))
  }
  await writeFile(path, '{"__proto__": {"polluted": true}}')
  await writeFields(path, { one: 1 })
  t.is(({} as Record<string, unknown>).polluted, undefined)
})
