import { type ChildProcess, execFile, fork } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import test from 'ava'
import { pino } from 'pino'
import { createFreezerClient } from '../../../agent/fence/freezer-client.ts'
import { openFreezerFiles } from '../../../agent/fence/freezer-files.ts'
import { systemClock } from '../../../agent/runtime/clock.ts'
import { openFence } from '../../../plugin/watchdog.ts'
import { MemoryEngine } from '../../fake/memory-engine.ts'
import { untilTrue } from '../until.ts'
import { ControlGroup } from './control-group.ts'

const execute = promisify(execFile)
const LONG_MS = 60_000
const SHORT_MS = 100
const log = pino({ level: 'silent' })
const never = new AbortController().signal

async function start() {
  const stack = new AsyncDisposableStack()
  const group = stack.use(await ControlGroup.make('v1'))
  const stateDir = await mkdtemp(join(tmpdir(), 'wherry-freezer-'))
  stack.defer(() => rm(stateDir, { recursive: true, force: true }))
  const child = (script: string, ...args: string[]): ChildProcess => {
    const process = fork(fileURLToPath(new URL(script, import.meta.url)), args)
    stack.defer(() => void process.kill('SIGKILL'))
    return process
  }
  return {
    group,
    /** This process is the plugin's. Returns the agent's, once it has frozen a container. */
    asPlugin: async (budgetMs: number) => {
      const parts = { engine: new MemoryEngine(), freezerFiles: openFreezerFiles(group.root), clock: systemClock }
      const fence = stack.use(await openFence({ ...parts, stateDir, leaseMs: LONG_MS, log }))
      const agent = child('freeze-agent.ts', group.root, group.container, String(budgetMs))
      fence.started(
        () => {},
        (message) => agent.connected && agent.send(message, undefined, {}, () => {}),
      )
      agent.on('exit', () => fence.ended())
      const still = new Promise<void>((resolve) => agent.on('message', (said) => said === 'still' && resolve()))
      agent.on('message', (message) => fence.heard(message))
      await still
      return agent
    },
    /** This process is the agent's. */
    asAgent: async () => {
      const plugin = child('freeze-plugin.ts', group.root, stateDir)
      await once(plugin, 'message')
      const killPlugin = () => void plugin.kill('SIGKILL')
      const freezes = createFreezerClient({ channel: plugin, files: openFreezerFiles(group.root), killPlugin, log })
      return { plugin, freezes }
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  }
}

test.serial(
  'promise 13: an agent that is stopped in a freeze keeps nobody frozen for longer than the budget',
  async (t) => {
    await using ground = await start()
    const agent = await ground.asPlugin(2_000)
    agent.kill('SIGSTOP')
    t.true(await ground.group.standsStill())
    await ground.group.runs()
    t.pass()
  },
)

test.serial(
  'promise 13: an agent that was stopped in a freeze does not undo what an operator has paused since',
  async (t) => {
    await using ground = await start()
    const agent = await ground.asPlugin(500)
    const cut = new Promise<void>((resolve) => agent.on('message', (said) => said === 'cut' && resolve()))
    agent.kill('SIGSTOP')
    await ground.group.runs()
    ground.group.set(true)
    // By then the agent would have thawed it for a plugin that says nothing.
    await sleep(1_500)
    agent.kill('SIGCONT')
    await cut
    t.true(ground.group.isFrozen())
  },
)

test.serial('promise 11: what an agent that is killed has frozen runs again at once', async (t) => {
  await using ground = await start()
  const agent = await ground.asPlugin(LONG_MS)
  t.true(await ground.group.standsStill())
  agent.kill('SIGKILL')
  await ground.group.runs()
  t.pass()
})

test.serial('containers that are frozen by the plugin run again when the agent says so', async (t) => {
  await using ground = await start()
  const { freezes } = await ground.asAgent()
  const freeze = await freezes.freeze([ground.group.container], LONG_MS, never)
  t.true(await ground.group.standsStill())
  t.is((await freeze.end()).why, null)
  await ground.group.runs()
  t.is((await freeze.end()).why, null)
})

test.serial('promise 13: the budget ends a freeze, and the agent hears of it', async (t) => {
  await using ground = await start()
  const { freezes } = await ground.asAgent()
  const freeze = await freezes.freeze([ground.group.container], SHORT_MS, never)
  await untilTrue(() => freeze.cut.aborted)
  await ground.group.runs()
  t.is((await freeze.end()).why, 'budget')
})

test.serial('a freeze that is given up before it comes about leaves nothing frozen', async (t) => {
  await using ground = await start()
  const { freezes } = await ground.asAgent()
  const stop = new AbortController()
  const freezing = freezes.freeze([ground.group.container], LONG_MS, stop.signal)
  stop.abort(new Error('enough'))
  await t.throwsAsync(freezing, { message: 'enough' })
  await ground.group.runs()
  await t.throwsAsync(freezes.freeze(['0'.repeat(64)], LONG_MS, never), { code: 'FREEZER_UNREACHABLE' })
})

test.serial('promise 11: when the plugin is killed in a freeze the agent thaws what it had asked for', async (t) => {
  await using ground = await start()
  const { plugin, freezes } = await ground.asAgent()
  const freeze = await freezes.freeze([ground.group.container], LONG_MS, never)
  plugin.kill('SIGKILL')
  await ground.group.runs()
  t.is((await freeze.end()).why, 'plugin')
  await t.throwsAsync(freezes.freeze([ground.group.container], LONG_MS, never), { code: 'FREEZER_UNREACHABLE' })
})

test.serial(
  'promise 13: when the plugin is stopped in a freeze, the agent thaws at the end of the budget and waits for a reply',
  async (t) => {
    await using ground = await start()
    const { plugin, freezes } = await ground.asAgent()
    const freeze = await freezes.freeze([ground.group.container], SHORT_MS, never)
    plugin.kill('SIGSTOP')
    await ground.group.runs()
    t.is((await freeze.end()).why, 'plugin')
    const ask = () => freezes.freeze([ground.group.container], LONG_MS, never)
    await t.throwsAsync(ask(), { code: 'FREEZER_UNREACHABLE' })
    plugin.kill('SIGCONT')
    await untilTrue(async () => {
      const again = await ask().catch(() => null)
      return again !== null && (await again.end()).why === null
    })
  },
)

test.serial('promise 13: a plugin that stays stopped is killed: readers of a freezer wait for it', async (t) => {
  await using ground = await start()
  const { plugin, freezes } = await ground.asAgent()
  const freeze = await freezes.freeze([ground.group.container], SHORT_MS, never)
  const ended = once(plugin, 'exit')
  plugin.kill('SIGSTOP')
  // As runc does before it stops a container.
  const looking = execute('cat', [ground.group.file])
  t.is((await freeze.end()).why, 'plugin')
  t.is((await looking).stdout.trim(), ground.group.word(false))
  t.deepEqual(await ended, [null, 'SIGKILL'])
})

/** A plugin's process that sends only what the test says. */
class Silent extends EventEmitter {
  readonly connected = true
  readonly asked = Promise.withResolvers<string>()
  send(message: unknown): boolean {
    const { kind, request } = message as { kind: string; request?: { id: string } }
    if (kind === 'freeze' && request !== undefined) this.asked.resolve(request.id)
    return true
  }
}

test.serial(
  'promise 13: a plugin stopped before it confirms a freeze keeps no container frozen for longer than the budget',
  async (t) => {
    await using ground = await start()
    const { container, root } = ground.group
    const channel = new Silent()
    const freezes = createFreezerClient({ channel, files: openFreezerFiles(root), killPlugin: () => {}, log })
    const freezing = freezes.freeze([container], SHORT_MS, never)
    channel.emit('message', { kind: 'freezing', id: await channel.asked.promise, containers: [container] })
    ground.group.set(true)
    const { why, frozenMs } = await (await freezing).end()
    t.is(why, 'plugin')
    t.true(Number(frozenMs) < 10_000, `${frozenMs} ms`)
    await ground.group.runs()
  },
)

test.serial(
  'promise 13: what an operator pauses while a plugin has not frozen it yet is not thawed for it',
  async (t) => {
    await using ground = await start()
    const { container, root } = ground.group
    const channel = new Silent()
    const freezes = createFreezerClient({ channel, files: openFreezerFiles(root), killPlugin: () => {}, log })
    const freezing = freezes.freeze([container], SHORT_MS, never)
    await channel.asked.promise
    ground.group.set(true)
    channel.emit('disconnect')
    t.is((await (await freezing).end()).why, 'plugin')
    t.true(ground.group.isFrozen())
  },
)
