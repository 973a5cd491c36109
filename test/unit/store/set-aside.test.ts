import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { calm, newVolume, storeHost } from './fixture.ts'

/** Where captures aside go from now on. */
function scratch(t: ExecutionContext): string {
  const place = mkdtempSync(join(tmpdir(), 'wherry-aside-'))
  const before = process.env.TMPDIR
  process.env.TMPDIR = place
  t.teardown(() => {
    if (before === undefined) delete process.env.TMPDIR
    else process.env.TMPDIR = before
    rmSync(place, { recursive: true, force: true })
  })
  return place
}

test.serial(
  'a capture aside takes room once: what fails leaves none, and the next capture gives it back',
  async (t) => {
    let isFull = false
    const { store, data } = await storeHost(t, undefined, (step) => {
      if (isFull && step === 'captured') throw Object.assign(new Error('no space left'), { code: 'ENOSPC' })
    })
    const place = scratch(t)
    const one = newVolume()
    await store.create(one)
    writeFileSync(join(data(one.id), 'large'), Buffer.alloc(300_000, 'x'))
    for (const _ of [1, 2]) {
      await store.captureAside(one.id, calm)
      t.is(readdirSync(place).length, 1)
    }
    isFull = true
    await t.throwsAsync(store.captureAside(one.id, calm))
    t.deepEqual(readdirSync(place), [])
    isFull = false
    await store.captureAside(one.id, calm)
    await store.capture(one.id, 'quiet', calm)
    t.deepEqual(readdirSync(place), [])
    await t.throwsAsync(store.reader({ id: one.id, kind: 'aside' }), { code: 'NOT_AT_CHECKPOINT' })
  },
)

test.serial(
  'what a process that was killed has left of a capture aside goes when the state directory is opened again',
  async (t) => {
    const hosts = [await storeHost(t), await storeHost(t)]
    const place = scratch(t)
    for (const { store, data } of hosts) {
      const one = newVolume()
      await store.create(one)
      writeFileSync(join(data(one.id), 'file'), 'x')
      await store.captureAside(one.id, calm)
    }
    const before = readdirSync(place)
    t.is(before.length, 2)
    await hosts[0]?.store[Symbol.asyncDispose]()
    const others = readdirSync(place)
    t.is(others.length, 1)
    const [name = ''] = before.filter((name) => !others.includes(name))
    mkdirSync(join(place, name))
    writeFileSync(join(place, name, 'last'), 'as it was left')
    await storeHost(t, hosts[0]?.stateDir)
    t.deepEqual(readdirSync(place), others, 'that of another state directory stays')
  },
)
