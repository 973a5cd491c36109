import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { ftruncateSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { mock } from 'node:test'
import test from 'ava'
import { untilTrue } from '../../until.ts'
import { BLOCK, blockHashes, held, pool, poolDirectory } from './fixture.ts'

const POOL = new URL('../../../../agent/store/workers/block-pool.ts', import.meta.url)
/** A process that is kept alive never ends; a busy machine may take seconds. */
const EXIT_LIMIT_MS = 20_000
const DYING_WORKER = new URL('./dying-worker.ts', import.meta.url)

/** Null: the thread has ended meanwhile. */
function nameOf(thread: string): string | null {
  try {
    return readFileSync(`/proc/self/task/${thread}/comm`, 'utf8').trim()
  } catch {
    return null
  }
}

/** Threads of this process that belong to a block pool. */
function poolThreads(): string[] {
  return readdirSync('/proc/self/task').filter((thread) => nameOf(thread) === 'blocks')
}

test.serial('a thread without work for half a minute ends, and the next task starts another', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  const fd = held(t, join(poolDirectory(t), 'file'), 'w+')
  ftruncateSync(fd, BLOCK)
  const blocks = pool(t, 1)
  const hashes = await blocks.hashBlocks(fd, BLOCK, 0, 1)
  mock.timers.tick(29_000)
  await blocks.hashBlocks(fd, BLOCK, 0, 1)
  const [kept, ...others] = poolThreads()
  t.deepEqual(others, [])
  mock.timers.tick(29_000)
  t.deepEqual(poolThreads(), [kept])
  mock.timers.tick(1_000)
  mock.timers.reset()
  await untilTrue(() => poolThreads().length === 0)
  t.deepEqual(await blocks.hashBlocks(fd, BLOCK, 0, 1), hashes)
})

test('many tasks on two threads each get their own answer', async (t) => {
  const path = join(poolDirectory(t), 'file')
  const content = randomBytes(64 * BLOCK)
  writeFileSync(path, content)
  const fd = held(t, path)
  const known = blockHashes(content)
  const blocks = pool(t, 2)
  t.is(blocks.threads, 2)
  const answers = await Promise.all(Array.from({ length: 64 }, (_, i) => blocks.hashBlocks(fd, content.length, i, 1)))
  t.true(Buffer.concat(answers).equals(known))
})

test('two threads work at the same time', async (t) => {
  // Each thread waits until the other has come as well; one thread would wait in vain.
  const blocks = pool(t, 2, new URL('./meeting-worker.ts', import.meta.url))
  const met = new Int32Array(new SharedArrayBuffer(4))
  t.deepEqual(await Promise.all([blocks.copyRanges(0, 0, met as never), blocks.copyRanges(0, 0, met as never)]), [
    'met',
    'met',
  ] as never)
})

test('a thread that dies rejects its tasks and the pool goes on with a new one', async (t) => {
  const blocks = pool(t, 1, DYING_WORKER)
  for (const how of ['exit', 'throw']) {
    const dying = blocks.hashFiles(0, [how], [0])
    const behind = blocks.hashFiles(0, ['live'], [0])
    const later = Array.from({ length: 5 }, () => blocks.hashFiles(0, ['live'], [0]))
    const error = await t.throwsAsync(dying, { code: 'INTERNAL' })
    t.truthy(error?.cause)
    await t.throwsAsync(behind, { code: 'INTERNAL' }, 'it lay with the thread that died')
    t.deepEqual(
      (await Promise.all(later)).map(({ outcomes }) => outcomes.length),
      [1, 1, 1, 1, 1],
    )
  }
})

test('disposing waits for what was asked and refuses what comes later', async (t) => {
  const path = join(poolDirectory(t), 'file')
  const fd = held(t, path, 'w+')
  ftruncateSync(fd, 8 * BLOCK)
  const blocks = pool(t, 1)
  const running = Array.from({ length: 8 }, (_, i) => blocks.hashBlocks(fd, 8 * BLOCK, i, 1))
  let ended = 0
  for (const one of running) void one.then(() => ended++)
  await blocks[Symbol.asyncDispose]()
  t.is(ended, 8)
  await blocks[Symbol.asyncDispose]()
  await t.throwsAsync(blocks.hashBlocks(fd, 8 * BLOCK, 0, 1), { code: 'INTERNAL' })
})

test('idle threads do not keep the process alive, and descriptors bring no warnings', (t) => {
  const directory = poolDirectory(t)
  const [path, script] = [join(directory, 'file'), join(directory, 'script.mjs')]
  writeFileSync(path, 'x')
  writeFileSync(
    script,
    `import { openSync } from 'node:fs'
    const { openBlockPool } = await import(${JSON.stringify(POOL.href)})
    const pool = openBlockPool({ threads: 2 })
    const directoryFd = openSync(${JSON.stringify(directory)})
    await Promise.all([pool.hashFiles(directoryFd, ['file'], [1]), pool.hashFiles(directoryFd, ['file'], [1])])
    console.log('done')`,
  )
  const ran = spawnSync(process.execPath, [script], { encoding: 'utf8', timeout: EXIT_LIMIT_MS })
  t.is(ran.status, 0, ran.stderr)
  t.is(ran.stdout, 'done\n')
  t.is(ran.stderr, '')
})
