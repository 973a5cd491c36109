import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { openDrainFlag } from '../../../agent/host/drain-flag.ts'
import { WherryError } from '../../../agent/model/errors.ts'

test('promise 11: the wish to drain a host outlives the agent; a file that cannot be understood is not taken for a no', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'wherry-drain-'))
  t.teardown(() => rm(dir, { recursive: true, force: true }))
  const wish = await openDrainFlag(dir)
  t.false(wish.get())
  await wish.set(true)
  t.true(wish.get())
  t.true((await openDrainFlag(dir)).get())
  await wish.set(false)
  t.false((await openDrainFlag(dir)).get())
  await writeFile(join(dir, 'drain.json'), '{"drain":')
  const error = await t.throwsAsync(openDrainFlag(dir), { instanceOf: WherryError })
  t.is(error.code, 'COPY_DAMAGED')
  t.regex(error.hint ?? '', /\{"drain":true\}/)
})
