import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { findTreeUse } from '../../../agent/sys/tree-use.ts'

/** A directory with processes as in `/proc`; the memory map of the second one can be read once somebody writes it. */
function processes(t: ExecutionContext) {
  const proc = mkdtempSync(join(tmpdir(), 'wherry-proc-'))
  t.teardown(() => rmSync(proc, { recursive: true }))
  for (const pid of ['101', '102', '103']) mkdirSync(join(proc, pid))
  for (const pid of ['101', '103']) writeFileSync(join(proc, pid, 'maps'), '')
  const held = join(proc, '102', 'maps')
  execFileSync('mkfifo', [held])
  return { proc, held }
}

test('a process at which nobody can look keeps no look from its end', async (t) => {
  const { proc, held } = processes(t)
  const first = await findTreeUse(proc, proc)
  t.false(first.isComplete)
  t.deepEqual(first.users, [])
  t.false((await findTreeUse(proc, proc)).isComplete, 'nor the next one')
  await (await open(held, 'w')).close()
  rmSync(held)
  while (!(await findTreeUse(proc, proc)).isComplete);
  t.true((await findTreeUse(proc, proc)).isComplete, 'it is looked at again once that is possible')
})
