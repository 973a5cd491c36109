import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { pino } from 'pino'
import { serveApi } from '../../../agent/api/server.ts'
import type { MoveView, VolumeView } from '../../../agent/mobility/volume-view.ts'
import { WherryError } from '../../../agent/model/errors.ts'
import { newCommand, newGroup } from '../../../cli/command.ts'
import { createProgram } from '../../../cli/program.ts'
import { WrongCall } from '../../../cli/wrong-call.ts'
import { createMemoryMobility, HEALTHY } from '../api/memory-mobility.ts'
import { HOST_VIEW, heldVolume } from './views.ts'

const WHERRY = new URL('../../../cli/wherry.ts', import.meta.url).pathname

const METRICS = '# HELP a b\n# TYPE a gauge\na 1\n'

/** An agent's API over volumes in memory, and the command as an operator runs it. */
async function start() {
  const stack = new AsyncDisposableStack()
  const dir = await mkdtemp(join(tmpdir(), 'wherry-cli-'))
  stack.defer(() => rm(dir, { recursive: true, force: true }))
  const socketPath = join(dir, 'agent.sock')
  const mobility = createMemoryMobility()
  stack.use(await serveApi({ mobility, socketPath, metrics: async () => METRICS, log: pino({ level: 'silent' }) }))
  return {
    mobility,
    run: (...args: string[]) => run(...args, '--socket', socketPath),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  }
}

function run(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [WHERRY, ...args], (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr })
    })
  })
}

function addVolume(mobility: ReturnType<typeof createMemoryMobility>): VolumeView {
  const view = heldVolume()
  mobility.volumes.set('data', view)
  return view
}

test('ls and inspect show a volume as text, and as JSON to programs', async (t) => {
  await using agent = await start()
  t.regex((await agent.run('ls')).stdout, /no volumes/)
  const view = addVolume(agent.mobility)
  const [listed, shown, json] = await Promise.all([
    agent.run('ls'),
    agent.run('inspect', 'data'),
    agent.run('inspect', 'data', '--json'),
  ])
  const [head, ...rows] = listed.stdout.split('\n')
  t.regex(head ?? '', /^VOLUME +HOLDER +CONTAINERS +CHECKPOINT +AGE +SIZE +COPIES$/)
  t.regex(rows.join('\n'), /^data +h1 +db +4\.17 +\d+ s +1\.5 GB +h1, h2 \(filling\) +1 diverged tree\n$/)
  t.regex(shown.stdout, /taken over +by h1 from h3 .* checkpoint 3\.9, which was 7 s old/)
  t.regex(
    shown.stdout,
    /diverged +volumes\/ID\/diverged\/3-1 in .*: 2\.0 MB with writes of epoch 3 that the cluster never got/,
  )
  t.regex(shown.stdout, /checkpoint age +2 s old on another host/)
  t.regex(shown.stdout, /h2 +filling +4\.17 .* being pulled from h1/)
  t.deepEqual(JSON.parse(json.stdout), view)
})

test('a volume of the driver local with the same name is named with its host', async (t) => {
  await using agent = await start()
  agent.mobility.volumes.set('data', { ...addVolume(agent.mobility), namesakes: ['h2', 'h3'] })
  t.regex((await agent.run('ls')).stdout, /1 diverged tree, local volume of this name on h2, h3\n$/)
  t.regex(
    (await agent.run('inspect', 'data')).stdout,
    /local namesake +h2, h3: Docker has a volume "data" of its own driver/,
  )
})

test('what is on hosts that are away does not look as if it counted', async (t) => {
  await using agent = await start()
  const view = addVolume(agent.mobility)
  const since = '2026-01-02T03:04:05.678Z'
  const copies = view.copies.map((copy) => ({ ...copy, state: 'current' as const, awaySince: since }))
  const [first, second] = copies
  if (first === undefined || second === undefined) throw new Error('there are two copies')
  agent.mobility.volumes.set('data', { ...view, elsewhere: null, copies: [{ ...first, awaySince: null }, second] })
  t.regex((await agent.run('ls')).stdout, /data +h1 +db +4\.17 +none +1\.5 GB +h1, h2 \(away\) +1 diverged tree\n$/)
  const { stdout } = await agent.run('inspect', 'data')
  t.regex(stdout, /h2 +away +4\.17 +2026-01-02T03:04:05\.678Z +was current when it was last heard from/)
  t.regex(stdout, /checkpoint age +no other host that is alive has a checkpoint \(away: h2 since 2026.*\): .* h1 alone/)
  agent.mobility.volumes.set('data', { ...view, holder: null, elsewhere: null, copies })
  t.regex((await agent.run('ls')).stdout, /h1 \(away\), h2 \(away\) +newest data is on hosts that are away/)
})

test('a host without registry says so, and not that all others are away', async (t) => {
  await using agent = await start()
  const self = { ...HOST_VIEW, alive: false, stale: true, staleSince: '2026-01-02T03:04:00.000Z' }
  agent.mobility.hosts = async () => [self, { ...self, name: 'h2', self: false }]
  const { stdout } = await agent.run('hosts')
  t.regex(stdout, /h1 \(this\) +10\.0\.0\.1 +without registry/)
  t.regex(stdout, /h2 +10\.0\.0\.1 +last heard from 2026-01-02T03:04:05.678Z/)
  t.regex(stdout, /the registry has not replied to this host since 2026-01-02T03:04:00\.000Z/)
})

test("metrics prints the agent's text as it is", async (t) => {
  await using agent = await start()
  t.deepEqual(await agent.run('metrics'), { code: 0, stdout: METRICS, stderr: '' })
})

test('doctor lists what needs attention, the worst first, and its exit code says how bad it is', async (t) => {
  await using agent = await start()
  agent.mobility.hosts = async () => [HOST_VIEW]
  agent.mobility.health = async () => HEALTHY
  t.like(await agent.run('doctor'), { code: 0, stdout: 'Nothing needs attention, as far as this host knows.\n' })
  agent.mobility.hosts = async () => [HOST_VIEW, { ...HOST_VIEW, name: 'h2', self: false, otherPeers: true }]
  t.is((await agent.run('doctor')).code, 3)
  const away = { ...HOST_VIEW, name: 'h3', address: '10.0.0.3', self: false, alive: false }
  agent.mobility.hosts = async () => [HOST_VIEW, { ...HOST_VIEW, name: 'h2', self: false, otherPeers: true }, away]
  const { code, stdout } = await agent.run('doctor')
  t.is(code, 1)
  const lines = stdout.split('\n')
  t.regex(lines[0] ?? '', /^error {4}host h3: away since 2026/)
  t.is(lines[1], '         start it; it was at 10.0.0.3')
  t.regex(lines[2] ?? '', /^warning {2}host h2: has another WHERRY_PEERS/)
  const found = JSON.parse((await agent.run('doctor', '--json')).stdout) as { severity: string }[]
  t.deepEqual(
    found.map(({ severity }) => severity),
    ['error', 'warning'],
  )
})

test('hosts shows space, zone and who is drained', async (t) => {
  await using agent = await start()
  agent.mobility.hosts = async () => [
    HOST_VIEW,
    { ...HOST_VIEW, name: 'h2', self: false, alive: false, draining: true, zone: null },
    { ...HOST_VIEW, name: 'h3', self: false, alive: false, gone: true },
  ]
  const { stdout } = await agent.run('hosts')
  t.regex(stdout, /h1 \(this\) +10\.0\.0\.1 +alive +no +east +40\.0 GB of 100 GB +1\n/)
  t.regex(stdout, /h2 +10\.0\.0\.1 +away since 2026-01-02T03:04:05.678Z +yes +-/)
  t.regex(stdout, /h3 +10\.0\.0\.1 +gone since 2026/)
})

test('hosts says which certificate ends within 30 days', async (t) => {
  await using agent = await start()
  const inDays = (days: number) => new Date(Date.now() + days * 86_400_000).toISOString()
  const [soon, later] = [inDays(29), inDays(31)]
  agent.mobility.hosts = async () => [
    { ...HOST_VIEW, certificateEnds: soon },
    { ...HOST_VIEW, name: 'h2', self: false, certificateEnds: later },
  ]
  const { stdout } = await agent.run('hosts')
  t.regex(stdout, new RegExp(`h1 \\(this\\) +\\S+ +alive, certificate ends ${soon.slice(0, 10)} `))
  t.regex(stdout, /h2 +\S+ +alive +no/)
})

test('an agent that has just started says so, and calls no host away', async (t) => {
  await using agent = await start()
  agent.mobility.volumes.set('data', { ...addVolume(agent.mobility), hostsUnknown: true })
  agent.mobility.hosts = async () => [HOST_VIEW, { ...HOST_VIEW, name: 'h2', self: false, alive: false, unknown: true }]
  const [listed, shown, hosts] = await Promise.all([agent.run('ls'), agent.run('inspect', 'data'), agent.run('hosts')])
  t.regex(listed.stdout, /\nThis agent has just started: which hosts are away is not known yet\.\n$/)
  t.regex(shown.stdout, /\nhosts +this agent has just started: which hosts are away is not known yet\n/)
  t.regex(hosts.stdout, /h2 +10\.0\.0\.1 +not heard from yet, last heartbeat at 2026/)
})

test('hosts shows the versions of all hosts while they differ', async (t) => {
  await using agent = await start()
  const other = { ...HOST_VIEW, name: 'h2', self: false }
  agent.mobility.hosts = async () => [HOST_VIEW, other]
  t.notRegex((await agent.run('hosts')).stdout, /VERSION|1\.0\.0/)
  agent.mobility.hosts = async () => [HOST_VIEW, { ...other, version: '1.1.0' }, { ...other, version: null }]
  t.regex((await agent.run('hosts')).stdout, /VERSION\n.* 1\.0\.0\n.* 1\.1\.0\n.* older\n/)
})

test('hosts says which host cannot write its disk, whether it is away, this one, or without registry', async (t) => {
  await using agent = await start()
  const since = '2026-01-02T03:04:05.678Z'
  const unwritable = { code: 'EROFS', text: 'read-only file system', since }
  const others = [
    { ...HOST_VIEW, name: 'h2', self: false, alive: false, unwritable },
    { ...HOST_VIEW, name: 'h3', self: false, alive: false, stale: true, unwritable },
  ]
  agent.mobility.hosts = async () => [{ ...HOST_VIEW, unwritable }, ...others]
  const [{ stdout }, json] = await Promise.all([agent.run('hosts'), agent.run('hosts', '--json')])
  const why = `cannot write its disk since ${since} \\(EROFS\\)`
  t.regex(stdout, new RegExp(`h1 \\(this\\) +10\\.0\\.0\\.1 +alive, ${why} +no`))
  t.regex(stdout, new RegExp(`h2 +10\\.0\\.0\\.1 +away since ${since}, ${why} +no`))
  t.regex(stdout, new RegExp(`h3 +10\\.0\\.0\\.1 +last heard from ${since}, ${why} +no`))
  t.deepEqual(JSON.parse(json.stdout)[1].unwritable, unwritable)
})

test('promote accepts a loss only when told to, and shows why it is refused', async (t) => {
  await using agent = await start()
  addVolume(agent.mobility)
  const same = await agent.run('promote', 'data')
  t.is(same.code, 0)
  t.regex(same.stdout, /^Volume "data" is as it is\.\n\nname +data\n/)
  const json = await agent.run('promote', 'data', '--accept-loss', '--json')
  t.is(json.code, 0)
  t.like(JSON.parse(json.stdout), { name: 'data', changed: true, summary: 'Volume "data" is as it is.' })
  t.deepEqual(agent.mobility.calls, ['promote data false', 'promote data true'])
  agent.mobility.before = () => {
    throw new WherryError('FAILOVER_REFUSED', 'h3 has 4.18.', { hint: 'wherry promote data --accept-loss' })
  }
  t.deepEqual(await agent.run('promote', 'data'), {
    code: 1,
    stdout: '',
    stderr: 'wherry: FAILOVER_REFUSED: h3 has 4.18. wherry promote data --accept-loss\n',
  })
})

test('rm says what is removed, what referred to it, and why it is refused', async (t) => {
  await using agent = await start()
  addVolume(agent.mobility)
  const plain = await agent.run('rm', 'data')
  t.is(plain.code, 0)
  t.regex(plain.stdout, /^Removed data \(ID\)\. .*trash\/ID-\*[^\n]*\n$/)
  addVolume(agent.mobility)
  const forced = await agent.run('rm', 'data', '--force', '--accept-loss')
  t.regex(forced.stdout, /It was referred to by:\n {2}service web\nHost h3 was given up: .* set-aside\//)
  addVolume(agent.mobility)
  t.deepEqual(JSON.parse((await agent.run('rm', 'data', '--force', '--json')).stdout).references, ['service web'])
  t.deepEqual(agent.mobility.calls, [
    'removeWith data false false',
    'removeWith data true true',
    'removeWith data true false',
  ])
  agent.mobility.before = () => {
    throw new WherryError('VOLUME_IN_USE', 'In use.', { hint: 'wherry rm data --force' })
  }
  t.deepEqual(await agent.run('rm', 'data'), {
    code: 1,
    stdout: '',
    stderr: 'wherry: VOLUME_IN_USE: In use. wherry rm data --force\n',
  })
  t.is((await agent.run('rm')).code, 2)
  t.is((await agent.run('rm', 'data', '--off')).code, 2)
})

test('verify names what is damaged and what becomes of it, and fails then', async (t) => {
  await using agent = await start()
  addVolume(agent.mobility)
  const whole = await agent.run('verify', 'data')
  t.deepEqual(
    [whole.code, whole.stdout],
    [0, 'The copy of volume "data" on h1 matches checkpoint 4.17: 1 files, 2 B read.\n'],
  )
  const found = {
    filesChecked: 9,
    bytesRead: 2,
    damaged: [{ path: '"a"', reason: 'content', detail: null, blocks: 2 }] as const,
  }
  const view = { volume: 'data', host: 'h1', checkpoint: { epoch: 4, seq: 17 }, ...found, damagedCount: 3 }
  agent.mobility.verify = async () => ({ ...view, repairing: false })
  const damaged = await agent.run('verify', 'data')
  t.is(damaged.code, 1)
  t.regex(damaged.stdout, /does not match checkpoint 4\.17:\n {2}"a": content, 2 blocks\n {2}and 2 more\nNo other host/)
  agent.mobility.verify = async () => ({ ...view, repairing: true })
  t.regex((await agent.run('verify', 'data')).stdout, /fetched from another host/)
  t.is((await agent.run('verify')).code, 2)
})

test('drain stays until the last copy is gone, and says what it waits for', async (t) => {
  await using agent = await start()
  let looks = 0
  agent.mobility.drain = async (on) => {
    looks++
    if (looks === 2) throw new WherryError('REGISTRY_UNAVAILABLE', 'for a moment')
    const left = looks > 2 ? [] : [{ volume: 'data', why: 'in use here by container db' }]
    return { host: 'h1 (10.0.0.1)', draining: on, left }
  }
  const { code, stdout } = await agent.run('drain')
  t.is(code, 0)
  t.regex(stdout, /data +in use here by container db/)
  t.regex(stdout, /h1 \(10\.0\.0\.1\) has no copies left\.\n$/)
  t.is(looks, 3)
  t.regex((await agent.run('drain', '--off')).stdout, /may have copies/)
  t.is(looks, 4)
})

test('moves shows copies on their way to this host and those that ended', async (t) => {
  await using agent = await start()
  t.regex((await agent.run('moves')).stdout, /^No copy is on its way to this host/)
  const move: MoveView = {
    ...{ volume: 'data', id: 'ID', from: 'h1', to: 'h2', startedAt: '2026-01-02T03:04:05.678Z', state: 'running' },
    ...{ bytesDone: 500, bytesTotal: 120_000_000, filesDone: 3, filesTotal: 10, bytesPerSecond: 1_500_000 },
    ...{ secondsLeft: 11.2, error: null, seconds: 1.26 },
  }
  const failed: MoveView = {
    ...move,
    volume: 'old',
    state: 'failed',
    secondsLeft: null,
    error: 'h1 is away',
    seconds: 9,
  }
  agent.mobility.moves = async () => [move, failed]
  const [shown, json] = await Promise.all([agent.run('moves'), agent.run('moves', '--json')])
  t.regex(shown.stdout, /^VOLUME +FROM +TO +STATE +DONE +SECONDS\n/)
  t.regex(shown.stdout, /\ndata +h1 +h2 +running +500 B of 120 MB, 3 of 10 files +1\.3 +about 12 s left\n/)
  t.regex(shown.stdout, /\nold +h1 +h2 +failed +500 B of 120 MB, 3 of 10 files +9\.0 +h1 is away\n$/)
  t.deepEqual(JSON.parse(json.stdout), [move, failed])
})

test('recover names what the operator must decide, and fails while there is something', async (t) => {
  await using agent = await start()
  addVolume(agent.mobility)
  const { code, stdout } = await agent.run('recover')
  t.deepEqual([code, stdout], [0, 'Records written: data.\n'])
  agent.mobility.recover = async () => ({ written: [], kept: ['data'], problems: ['Host h2 did not answer.'] })
  const blocked = await agent.run('recover')
  t.is(blocked.code, 1)
  t.regex(
    blocked.stdout,
    /No record was written\.\nLeft as they are, not older than the disks: data\.\nProblem: Host h2/,
  )
})

test('a wrong call says what is wrong and how to call it; no agent is an error with a hint', async (t) => {
  const [unknown, foreign, missing, empty, help, nobody] = await Promise.all([
    run('list'),
    run('ls', '--off'),
    run('inspect'),
    run('rm', ''),
    run('--help'),
    run('ls', '--socket', '/nonexistent/agent.sock'),
  ])
  t.deepEqual([unknown.code, foreign.code, missing.code, empty.code, help.code, nobody.code], [2, 2, 2, 2, 0, 1])
  t.regex(unknown.stderr, /no command "list"\.\n\nUsage: wherry/)
  t.regex(foreign.stderr, /"ls" has no option --off/)
  t.regex(missing.stderr, /"inspect" needs VOLUME/)
  t.regex(empty.stderr, /"rm" needs VOLUME/)
  t.regex(help.stdout, /promote VOLUME \[--accept-loss\]/)
  t.regex(nobody.stderr, /^wherry: AGENT_UNAVAILABLE: .*it is not running/)
})

test('a wrong option is named as it was typed, with the usage of its command and nothing else', async (t) => {
  const wrong: readonly (readonly [readonly string[], string])[] = [
    [['promote', 'data', '--acept-loss'], '"promote" has no option --acept-loss.'],
    [['promote', 'data', '-f'], '"promote" has no option -f.'],
    [['promote', '--x=1', 'data'], '"promote" has no option --x.'],
    [['promote', 'data', '--accept-loss=yes'], 'Option --accept-loss takes no value.'],
    [['promote', 'data', '--socket'], 'Option --socket needs a path after it.'],
    [['promote', 'data', '--socket='], 'Option --socket needs a path after it.'],
    [['promote', 'data', '--socket', '--json'], 'Option --socket needs a path after it.'],
    [['promote'], '"promote" needs VOLUME.'],
  ]
  const usage =
    /^Usage: wherry promote VOLUME \[--accept-loss\] \[--json\] \[--socket PATH\]\n\n {2}free a volume from a holder /
  for (const [args, text] of wrong) {
    const { code, stdout, stderr } = await run(...args)
    t.deepEqual([code, stdout], [2, ''], args.join(' '))
    const [first, rest = ''] = stderr.split('\n\n', 1).concat(stderr.slice(stderr.indexOf('\n\n') + 2))
    t.is(first, `wherry: ${text}`)
    t.regex(rest, usage)
    t.notRegex(rest, /inspect VOLUME|ERR_|positional/)
  }
  const nameless = await run('--x')
  t.is(nameless.code, 2)
  t.regex(nameless.stderr, /^wherry: There is no option --x\.\n\nUsage: wherry COMMAND/)
})

/** Every command with its arguments and its own options. */
const COMMANDS = createProgram(() => async () => {}).commands.map((command) => {
  const own = command.options.map(({ long }) => long ?? '').filter((long) => !['--json', '--socket'].includes(long))
  return { name: command.name(), operands: command.registeredArguments.map((one) => one.name()), flags: own }
})

test('the help names every command with its flags', async (t) => {
  const { stdout } = await run('--help')
  t.true(COMMANDS.length >= 10)
  for (const { name, operands, flags } of COMMANDS) {
    const shown = [name, ...operands, ...flags.map((flag) => `[${flag}]`)].join(' ')
    t.true(stdout.includes(`\n  ${shown}`), shown)
  }
  for (const option of ['--json', '--socket PATH']) t.true(stdout.includes(`\n  ${option}`), option)
})

test('without a command the help is shown', async (t) => {
  const [help, ...without] = await Promise.all([run('--help'), run(), run('--json'), run('-h')])
  for (const answer of without) t.deepEqual(answer, { code: 0, stdout: help.stdout, stderr: '' })
})

test('the help of a command says what it does and explains its flags', async (t) => {
  const { code, stdout, stderr } = await run('rm', '--help')
  t.deepEqual([code, stderr], [0, ''])
  t.regex(
    stdout,
    /^Usage: wherry rm VOLUME \[--force\] \[--accept-loss\] \[--json\] \[--socket PATH\]\n\n {2}remove a /,
  )
  for (const option of ['--force', '--accept-loss', '--json', '--socket PATH']) {
    t.regex(stdout, new RegExp(`^ {2}${option} +\\w`, 'm'))
  }
})

test('commands are not abbreviated, and options may stand before their command', async (t) => {
  const [command, flag, number, foreign, own, before] = await Promise.all([
    run('insp', 'data'),
    run('rm', 'data', '--for'),
    run('rm', '-1'),
    run('--off', 'ls'),
    run('--off', '--socket', '/nonexistent/agent.sock', 'drain'),
    run('--json', '--socket', '/nonexistent/agent.sock', 'ls'),
  ])
  t.deepEqual(
    [command, flag, number, foreign, own, before].map(({ code }) => code),
    [2, 2, 2, 2, 1, 1],
  )
  t.regex(command.stderr, /^wherry: There is no command "insp"\.\n/)
  t.regex(flag.stderr, /^wherry: "rm" has no option --for\.\n/)
  t.regex(number.stderr, /^wherry: "rm" has no option -1\.\n/)
  t.regex(foreign.stderr, /^wherry: "ls" has no option --off\.\n/)
  for (const { stderr } of [own, before]) t.regex(stderr, /^wherry: AGENT_UNAVAILABLE: /)
})

test('a command can be nested: help and complaints give its full name', async (t) => {
  const calls: unknown[] = []
  const add = newCommand('add', 'add a repository')
    .argument('<URL>')
    .option('--key <FILE>', 'the key')
    .action((url: string, given: object) => void calls.push([url, given]))
  const nested = newGroup('backup', 'backups').addCommand(newGroup('repo', 'repositories').addCommand(add))
  const program = createProgram(() => async () => {}).addCommand(nested)
  const from = { from: 'user' } as const
  await program.parseAsync(['backup', 'repo', 'add', 'sftp://h', '--key', 'k'], from)
  t.deepEqual(calls, [['sftp://h', { key: 'k' }]])
  t.true(program.helpInformation().includes('\n  backup repo add URL [--key FILE]'))
  t.regex(nested.helpInformation(), /^Usage: wherry backup COMMAND \[OPTION \.\.\.\]\n\n {2}backup repo add URL /)
  t.regex(add.helpInformation(), /^Usage: wherry backup repo add URL \[--key FILE\] \[--json\] \[--socket PATH\]\n/)
  const wrong: readonly (readonly [readonly string[], string])[] = [
    [['backup', 'repo', 'add'], '"backup repo add" needs URL.'],
    [['backup', 'repo', 'add', 'a', '--x'], '"backup repo add" has no option --x.'],
    [['backup', 'repo', 'add', 'a', '--key'], 'Option --key needs a file after it.'],
    [['backup', 'repo', 'ad'], '"backup repo" has no command "ad".'],
  ]
  for (const [args, message] of wrong) {
    await t.throwsAsync(program.parseAsync([...args], from), { instanceOf: WrongCall, message })
  }
})

test('docs/commands.md names every command with its flags', (t) => {
  const page = readFileSync(new URL('../../../docs/commands.md', import.meta.url), 'utf8')
  for (const { name, operands, flags } of COMMANDS) {
    t.true(page.includes(`\nwherry ${[name, ...operands].join(' ')}`), name)
    for (const flag of flags) t.true(page.includes(flag), `${name} ${flag}`)
  }
  for (const option of ['--json', '--socket PATH']) t.true(page.includes(option), option)
})

test('status says what is missing, with exit code 1 until this host is ready', async (t) => {
  await using agent = await start()
  const ready = await agent.run('status')
  t.is(ready.code, 0)
  t.regex(ready.stdout, /^ready +yes\nregistry +replies\nengine +replies\ndisk +writable\nlease +runs\n/)
  const registry = { available: false, detail: '1 of 3 reachable', since: '2026-01-02T03:04:05.678Z' }
  const missing = { ...HEALTHY, ready: false, notes: ['look'] }
  agent.mobility.health = async () => ({ ...missing, registry })
  const failing = await agent.run('status')
  t.is(failing.code, 1)
  t.regex(failing.stdout, /^ready +no\nregistry +does not reply, since 2026\S+: 1 of 3 reachable\n.*note +look/s)
  agent.mobility.health = async () => ({ ...missing, registry: { ...registry, waitsForHosts: true } })
  t.regex((await agent.run('status')).stdout, /\nregistry +waits for other hosts, since/)
})

test('why checkpoints are late is in ls and inspect of every host', async (t) => {
  await using agent = await start()
  const late = { host: 'h1', code: 'DISK_FULL', text: 'No space.', since: '2026-01-02T03:04:05.678Z' }
  agent.mobility.volumes.set('data', { ...addVolume(agent.mobility), late })
  t.regex((await agent.run('ls')).stdout, /checkpoints fail: DISK_FULL, 1 diverged tree/)
  const why = /checkpoints late +h1 cannot bring one to other hosts, since 2026\S+ \(DISK_FULL\): No space\./
  t.regex((await agent.run('inspect', 'data')).stdout, why)
})
