import anyTest, { type TestFn } from 'ava'
import { busybox } from '../../lab/images.ts'
import { Lab } from '../../lab/lab.ts'
import { DocSite } from './doc-site.ts'
import type { DocGround } from './doc-step.ts'
import { STEPS } from './doc-steps.ts'

/**
 * Runs every command of README.md, docs/install.md and docs/operations.md, on one lab.
 * test/unit/doc-commands.test.ts sees that none is missing.
 */
const test = anyTest as TestFn<Omit<DocGround, 't'>>

/** The lab before may run a long test to its end. */
const LAB_WAIT_MS = 3_600_000
let ground: Omit<DocGround, 't'> | undefined
/** Each step goes on from what the ones before it have left. */
let failed = ''

test.serial.before('start the lab', async (t) => {
  t.timeout(LAB_WAIT_MS)
  const lab = await Lab.start({ swarm: true, log: t.log })
  const image = await lab.image(busybox)
  const site = await DocSite.open(lab)
  ground = { lab, site, h1: lab.host(1), h2: lab.host(2), h3: lab.host(3), image }
  await Promise.all(lab.hosts.map((host) => host.docker(['pull', '-q', image])))
})

test.beforeEach((t) => {
  if (ground === undefined) throw new Error('the lab did not start')
  t.context = ground
})

test.afterEach.always((t) => {
  if (!t.passed) t.log(ground?.lab.logs())
})

test.after.always('take the lab down', async (t) => {
  t.timeout(120_000)
  await ground?.lab.stop()
  ground?.site.close()
})

for (const { title, commands, run } of STEPS) {
  test.serial(title, async (t) => {
    t.timeout(240_000)
    if (failed !== '') throw new Error(`the step before has failed: ${failed}`)
    failed = title
    const startedMs = performance.now()
    await run({ t, ...t.context })
    for (const text of Object.values(commands)) t.true(t.context.site.hasRun(text), `not run: ${text}`)
    t.log(`${Math.round(performance.now() - startedMs)} ms`)
    failed = ''
    t.pass()
  })
}
