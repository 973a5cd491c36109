import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import type { Checkpoint } from '../../../agent/model/model.ts'
import { differences } from '../store/comparer.ts'
import { changeToNew, fillOld } from './crash-volume.ts'
import { HostProcess } from './host-process.ts'
import { ADDRESS, checkpoint, volume } from './kit.ts'

const CERTS = join(import.meta.dirname, '../../../scripts/certs')
const base = mkdtempSync(join(tmpdir(), 'wherry-kill-'))
const tls = join(base, 'tls', ADDRESS)
const v = volume()
const dataOf = (state: string) => join(state, 'volumes', v.id, 'data')
/**
 * The sender before and after its capture of checkpoint 2; a receiver at checkpoint 1; the tree that was checkpoint
 * 1.
 */
const [EDITED, CAPTURED, RECEIVER, OLD] = ['edited', 'captured', 'receiver', 'old'].map((name) => join(base, name)) as [
  string,
  string,
  string,
  string,
]
const hosts = new Set<HostProcess>()
let [next, whole, port]: [Checkpoint | null, number, number] = [null, 0, 0]

async function start(state: string, dieAt?: string): Promise<HostProcess> {
  const host = await HostProcess.start(state, tls, dieAt)
  hosts.add(host)
  return host
}

async function end(host: HostProcess): Promise<void> {
  await host.kill()
  hosts.delete(host)
}

let copies = 0
function copyOf(template: string): string {
  copies += 1
  const state = `${template}-${copies}`
  execFileSync('cp', ['-a', template, state])
  return state
}

function second(): Checkpoint {
  if (next === null) throw new Error('the sender was captured')
  return next
}

const LIVE = { kind: 'live' } as const
const want = () => ({ kind: 'checkpoint', hash: second().hash }) as const

test.before('a receiver at checkpoint 1 and a sender that has checkpoint 2', async () => {
  mkdirSync(join(base, 'tls'))
  execFileSync(CERTS, [join(base, 'tls'), ADDRESS], { stdio: 'ignore' })
  const [sender, receiver] = [await start(EDITED), await start(RECEIVER)]
  await sender.create(v)
  fillOld(dataOf(EDITED))
  const first = await sender.capture(v.id)
  await receiver.pull(await sender.serve(), v, { kind: 'checkpoint', hash: first.hash })
  await receiver.apply(v.id, checkpoint(first))
  await Promise.all([end(sender), end(receiver)])
  execFileSync('cp', ['-a', dataOf(EDITED), OLD])
  changeToNew(dataOf(EDITED))
  execFileSync('cp', ['-a', EDITED, CAPTURED])

  const source = await start(CAPTURED)
  next = { ...checkpoint(await source.capture(v.id)), seq: 2 }
  port = await source.serve()
  const control = await start(copyOf(RECEIVER))
  const pulled = await control.pull(port, v, want())
  if (!('bytes' in pulled) || !pulled.complete)
    throw new Error(`a pull that nothing disturbs: ${JSON.stringify(pulled)}`)
  whole = pulled.bytes
  await end(control)
})

test.after.always('clean up', async () => {
  await Promise.all([...hosts].map(end))
  execFileSync('rm', ['-rf', base])
})

/** The receiver is not at anything else than what its record says, and that is a committed checkpoint. */
async function checkReceiver(t: ExecutionContext, state: string, receiver: HostProcess): Promise<'old' | 'new'> {
  const copy = await receiver.copy(v.id)
  t.false(copy?.applying)
  const at = copy?.checkpoint?.seq === 2 ? 'new' : 'old'
  t.deepEqual(differences(at === 'old' ? OLD : dataOf(CAPTURED), dataOf(state)), [])
  return at
}

/** Lets the copy go on to its end; answers the bytes that still had to come. */
async function goOn(t: ExecutionContext, state: string, receiver: HostProcess, from = port): Promise<number> {
  const pulled = await receiver.pull(from, v, want())
  if (!('bytes' in pulled)) throw new Error(`${pulled.code}: ${pulled.message}`)
  t.true(pulled.complete)
  await receiver.apply(v.id, second())
  t.is(await checkReceiver(t, state, receiver), 'new')
  return pulled.bytes
}

/** What has to come before anything of the tree does: nothing of it is lost with the receiver. */
const BEGINNING = [
  'manifest-received',
  'manifest-staged',
  'lists-kept',
  'places-kept',
  'seen-kept',
  'manifest-kept',
  'tree-seen',
  'begun',
  'list-received',
  // The one that came is not asked for again: this is the other.
  'list-received',
  'prepared',
]

test.serial(
  'promise 4: a receiver killed at each step before the first byte of a file stays at the old checkpoint',
  async (t) => {
    const state = copyOf(RECEIVER)
    for (const step of BEGINNING) {
      const victim = await start(state, `${step} 1`)
      t.is(await checkReceiver(t, state, victim), 'old')
      await t.throwsAsync(victim.pull(port, v, want()))
      t.is(await victim.ended, 'SIGKILL', `step ${step} was reached`)
    }
    const receiver = await start(state)
    t.is(await checkReceiver(t, state, receiver), 'old')
    t.is(await goOn(t, state, receiver), whole)
    await end(receiver)
  },
)

const COMING: readonly (readonly [step: string, nth: number])[] = [
  ['small-files-made', 1],
  ['small-files-made', 2],
  ['blocks-staged', 1],
  ['blocks-staged', 5],
  ['large-file-completed', 1],
  ['all-staged', 1],
]

for (const [step, nth] of COMING) {
  test.serial(
    `promise 4: a receiver killed at step ${step} (${nth}) stays at the old checkpoint and uses what has come`,
    async (t) => {
      const state = copyOf(RECEIVER)
      const victim = await start(state, `${step} ${nth}`)
      await t.throwsAsync(victim.pull(port, v, want()))
      t.is(await victim.ended, 'SIGKILL', 'the step was reached')
      t.deepEqual(differences(OLD, dataOf(state)), [])
      const receiver = await start(state)
      t.is(await checkReceiver(t, state, receiver), 'old')
      const bytes = await goOn(t, state, receiver)
      if (step === 'all-staged') t.is(bytes, 0)
      else t.true(bytes < whole, `${bytes} of ${whole} bytes came again`)
      await end(receiver)
    },
  )
}

/** In the order in which a copy that is always cut off meets them: what it has is not sent again. */
const SERVING: readonly (readonly [frame: string, nth: number])[] = [
  ['manifest', 1],
  ['manifestEnd', 1],
  ['chosen', 1],
  ['hashes', 1],
  ['hashes', 1],
  ['files', 1],
  ['files', 2],
  ['piece', 1],
  ['piece', 3],
  ['runEnd', 1],
  ['end', 1],
]

test.serial(
  'promise 4: a sender killed at each step of serving leaves a receiver at the old checkpoint that keeps what has come',
  async (t) => {
    const [state, source] = [copyOf(RECEIVER), copyOf(CAPTURED)]
    const receiver = await start(state)
    let leftBytes = whole
    for (const [frame, nth] of SERVING) {
      const victim = await start(source, `${frame} ${nth}`)
      const cut = await receiver.pull(await victim.serve(), v, want())
      t.is(await victim.ended, 'SIGKILL', `${frame} (${nth}) was sent`)
      t.is(await checkReceiver(t, state, receiver), 'old')
      if ('bytes' in cut) t.is(frame, 'end', 'only then a copy can be complete')
      else t.is(cut.code, 'TRANSFER_CUT', cut.message)
      const { bytesTotal = 0, bytesDone = 0 } = cut.progress ?? {}
      if (bytesDone === 0) continue
      t.true(bytesTotal - bytesDone <= leftBytes, `${bytesTotal - bytesDone} bytes are left, ${leftBytes} were`)
      leftBytes = bytesTotal - bytesDone
    }
    t.true(leftBytes < whole / 2, `${leftBytes} of ${whole} bytes are left`)
    t.true((await goOn(t, state, receiver)) <= leftBytes)
    await end(receiver)
  },
)

/**
 * Kills a sender at each step in turn, each time as it takes up what the one before it left; answers one that is
 * still there.
 */
async function captureKilled(
  t: ExecutionContext,
  state: string,
  steps: readonly string[],
  capture: (sender: HostProcess) => Promise<unknown>,
): Promise<HostProcess> {
  for (const step of steps) {
    const victim = await start(state, `${step} 1`)
    await t.throwsAsync(capture(victim))
    t.is(await victim.ended, 'SIGKILL', `step ${step} was reached`)
    t.deepEqual(differences(dataOf(CAPTURED), dataOf(state)), [], step)
  }
  return await start(state)
}

/** Lets a receiver that is at the old checkpoint have the new one from a sender. */
async function checkSender(t: ExecutionContext, sender: HostProcess): Promise<void> {
  const state = copyOf(RECEIVER)
  const receiver = await start(state)
  await goOn(t, state, receiver, await sender.serve())
  await Promise.all([end(receiver), end(sender)])
}

const KEEPING = ['scanned', 'lists-kept', 'places-kept', 'seen-kept', 'manifest-kept', 'captured']

test.serial(
  'promise 4: a sender killed at each step of a capture takes the same checkpoint in the end, and reads no file again that it had kept',
  async (t) => {
    const state = copyOf(EDITED)
    const sender = await captureKilled(t, state, [...KEEPING, 'live-dropped'], (victim) => victim.capture(v.id))
    const { hash, filesRead } = await sender.capture(v.id)
    t.is(hash, second().hash)
    t.is(filesRead, 0)
    await checkSender(t, sender)
  },
)

test.serial(
  'promise 4: a sender killed at each step of a look ahead, and of the capture that takes it over, takes the same checkpoint in the end',
  async (t) => {
    const state = copyOf(EDITED)
    await end(await captureKilled(t, state, KEEPING, (victim) => victim.capture(v.id, 'live')))
    const linked = ['lists-linked', 'seen-linked', 'manifest-linked']
    const both = async (victim: HostProcess) => {
      t.is((await victim.capture(v.id, 'live')).filesRead, 0)
      await victim.capture(v.id)
    }
    const sender = await captureKilled(t, state, linked, both)
    const { hash, filesRead } = await sender.capture(v.id)
    t.is(hash, second().hash)
    t.is(filesRead, 0)
    await checkSender(t, sender)
  },
)

const RANDOM_KILLS = 6
/** From a call until the process is killed: a copy of this tree with its apply takes about as long. */
const DELAY_MAX_MS = 700

test.serial(
  `promise 4: a receiver killed at ${RANDOM_KILLS} random times is at the old or the new checkpoint`,
  async (t) => {
    let state = copyOf(RECEIVER)
    for (let nth = 0; nth < RANDOM_KILLS; nth += 1) {
      const victim = await start(state)
      const delayMs = Math.round(Math.random() * DELAY_MAX_MS)
      const copying = victim.pull(port, v, want()).then(() => victim.apply(v.id, second()))
      await Promise.all([sleep(delayMs).then(() => victim.kill()), copying.catch(() => {})])
      const receiver = await start(state)
      const at = await checkReceiver(t, state, receiver)
      t.log(`killed after ${delayMs} ms: ${at}`)
      await end(receiver)
      if (at === 'new') state = copyOf(RECEIVER)
    }
    const receiver = await start(state)
    await goOn(t, state, receiver)
    await end(receiver)
  },
)

test.serial(
  `promise 4: a sender killed at ${RANDOM_KILLS} random times leaves the receiver at the old or the new checkpoint`,
  async (t) => {
    const [state, source] = [copyOf(RECEIVER), copyOf(EDITED)]
    const receiver = await start(state)
    for (let nth = 0; nth < RANDOM_KILLS; nth += 1) {
      const victim = await start(source)
      const delayMs = Math.round(Math.random() * DELAY_MAX_MS)
      const copying = async () => {
        const from = await victim.serve()
        await victim.capture(v.id, 'live')
        await receiver.pull(from, v, LIVE)
        await victim.capture(v.id)
        await receiver.pull(from, v, want())
      }
      await Promise.all([sleep(delayMs).then(() => victim.kill()), copying().catch(() => {})])
      t.log(`killed after ${delayMs} ms`)
      t.is(await checkReceiver(t, state, receiver), 'old')
    }
    const sender = await start(source)
    t.is((await sender.capture(v.id)).hash, second().hash)
    await goOn(t, state, receiver, await sender.serve())
    await Promise.all([end(receiver), end(sender)])
  },
)
