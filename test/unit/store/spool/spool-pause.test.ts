import { randomBytes, randomInt } from 'node:crypto'
import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { newVolume, storeHost } from '../fixture.ts'
import { Held } from './held.ts'

const MIB = 1024 * 1024
const PAGE_BYTES = 4096
const FILE_MIB = 1024
const DIRTY_PAGES = 1000
const DIRECTORIES = 100
const FILES_PER_DIRECTORY = 200
const ROUNDS = 3

test.serial('how long containers stand still: a file of 1 GiB with 1,000 dirty pages', async (t) => {
  const it = await Held.begin(await storeHost(t), newVolume())
  const file = join(it.data, 'file')
  const fd = openSync(file, 'w+')
  for (let nth = 0; nth < FILE_MIB; nth++) writeSync(fd, randomBytes(MIB))
  await it.rounds(1)
  await it.take()
  const dirty = () => {
    for (let nth = 0; nth < DIRTY_PAGES; nth++) {
      writeSync(fd, randomBytes(PAGE_BYTES), 0, PAGE_BYTES, randomInt((FILE_MIB * MIB) / PAGE_BYTES) * PAGE_BYTES)
    }
  }
  for (let nth = 0; nth < ROUNDS; nth++) {
    dirty()
    t.log(`a round: ${await timed(() => it.rounds(1))} ms`)
    dirty()
    t.log(`the last one: ${await lastOf(it)} ms`)
  }
  closeSync(fd)
  t.pass()
})

test.serial('how long containers stand still: 20,000 small files, none of which changes', async (t) => {
  const it = await Held.begin(await storeHost(t), newVolume())
  for (let nth = 0; nth < DIRECTORIES; nth++) {
    mkdirSync(join(it.data, `d${nth}`))
    for (let file = 0; file < FILES_PER_DIRECTORY; file++)
      writeFileSync(join(it.data, `d${nth}`, `f${file}`), `${file}`)
  }
  await it.rounds(1)
  await it.take()
  for (let nth = 0; nth < ROUNDS; nth++) {
    writeFileSync(join(it.data, 'one'), `${nth}`)
    t.log(`a round: ${await timed(() => it.rounds(1))} ms`)
    t.log(`the last one: ${await lastOf(it)} ms`)
  }
  t.pass()
})

/** How long the last round takes; it is committed. */
async function lastOf(it: Held): Promise<number> {
  let tookMs = 0
  const start = performance.now()
  await it.take('quiet', () => {
    tookMs = Math.round(performance.now() - start)
  })
  return tookMs
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await work()
  return Math.round(performance.now() - start)
}
