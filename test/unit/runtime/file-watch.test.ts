import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { stampOf, watchFiles } from '../../../agent/runtime/file-watch.ts'
import { untilTrue } from '../until.ts'

const POLL_MS = 20

/** Two files that are watched; `changes` counts the calls. */
async function watched(t: ExecutionContext) {
  const directory = await mkdtemp(join(tmpdir(), 'wherry-watch-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  const files = [join(directory, 'cert.pem'), join(directory, 'key.pem')] as const
  for (const file of files) await writeFile(file, 'old')
  const seen = { changes: 0 }
  const watch = watchFiles(files, await stampOf(files), POLL_MS, () => {
    seen.changes++
  })
  t.teardown(() => watch[Symbol.asyncDispose]())
  return { files, seen, watch }
}

test('a file that is replaced by a rename, with the same content and size, is noticed once', async (t) => {
  const { files, seen } = await watched(t)
  await writeFile(`${files[0]}.new`, 'old')
  await rename(`${files[0]}.new`, files[0])
  await untilTrue(() => seen.changes === 1)
  await new Promise((resolve) => setTimeout(resolve, 10 * POLL_MS))
  t.is(seen.changes, 1)
})

test('a change between the stamp and the watch is noticed', async (t) => {
  const { files } = await watched(t)
  const stamp = await stampOf(files)
  await writeFile(files[1], 'new')
  const changed = Promise.withResolvers<void>()
  const watch = watchFiles(files, stamp, POLL_MS, () => changed.resolve())
  t.teardown(() => watch[Symbol.asyncDispose]())
  await t.notThrowsAsync(changed.promise)
})

test('nothing is called after the watch is disposed', async (t) => {
  const { files, seen, watch } = await watched(t)
  await watch[Symbol.asyncDispose]()
  await writeFile(files[0], 'new')
  await new Promise((resolve) => setTimeout(resolve, 5 * POLL_MS))
  t.is(seen.changes, 0)
})
