import { readFile, writeFile } from 'node:fs/promises'
import type { Host } from '../../lab/host.ts'
import { until } from '../../lab/poll.ts'
import { breakDisk, countedLater, startCounter, stateOf, wherry } from './broken-disk.ts'
import { type Agent, agentOf, idle, inspect, onLab, shell, sleeper, treeOf, whenAgentReady } from './fixture.ts'
import { listTree } from './tree.ts'

const STATE_DISK_BYTES = 512 * 1024 * 1024
const test = onLab(
  { stateDisk: { type: 'ext4', sizeBytes: STATE_DISK_BYTES } },
  { WHERRY_MOUNT_DEADLINE: '4s', WHERRY_HEARTBEAT: '500ms', WHERRY_LEASE: '3s' },
)

const MEBIBYTE = 1024 * 1024
const SIZE_MEBIBYTES = 64
/** 64 MiB at this rate take about 20 s: five Mount deadlines. */
const SLOW_BITS_PER_SECOND = 27_000_000

test.serial(
  'promise 9: a cold move longer than the deadline fails with progress, goes on, and the next Mount joins it',
  async (t) => {
    const { h1, h2, lab } = t.context
    await h1.docker(['volume', 'create', '--driver', 'wherry', 'big'])
    await shell(
      h1,
      t.context,
      'big',
      `dd if=/dev/urandom of=/data/blob bs=1M count=${SIZE_MEBIBYTES} 2>/dev/null; sync`,
    )
    await idle(h1, 'big')
    const original = await listTree(await treeOf(h1, 'big'))

    await lab.rate(h1, SLOW_BITS_PER_SECOND)
    const first = await shell(h2, t.context, 'big', 'true', true)
    t.not(first.code, 0)
    t.regex(
      first.stderr,
      /"big" is being copied from h1 .*: [\d.]+ of 67\.1 MB \(\d+ %\), \d+ of \d+ files, about \d+ s left/,
    )

    await using agent = agentOf(h2)
    const running = (await agent.moves()).find((move) => move.volume === 'big')
    t.is(running?.state, 'running', 'the copy goes on after the Mount gave up')
    await lab.rate(h1, null)
    const answer = await until(
      'a later Mount succeeds',
      async () => {
        const again = await shell(h2, t.context, 'big', 'wc -c </data/blob', true)
        return again.code === 0 ? again.stdout.trim() : null
      },
      { timeoutMs: 90_000 },
    )
    t.is(answer, String(SIZE_MEBIBYTES * MEBIBYTE))
    const moves = (await agent.moves()).filter((move) => move.volume === 'big')
    const moved = moves.reduce((sum, move) => sum + move.bytesDone, 0)
    t.is(moved, SIZE_MEBIBYTES * MEBIBYTE, 'nothing was sent twice')
    await idle(h2, 'big')
    t.deepEqual(await listTree(await treeOf(h2, 'big')), original)
  },
)

test.serial('a copy that is cut off in the middle takes up where it was when the link is back', async (t) => {
  const { h1, h2, h3, lab } = t.context
  await using agent = agentOf(h3)
  await lab.rate(h2, SLOW_BITS_PER_SECOND)
  await lab.rate(h1, SLOW_BITS_PER_SECOND)
  await shell(h3, t.context, 'big', 'true', true)
  const before = await until('some of it has arrived', async () => {
    const move = (await agent.moves()).find(({ volume, state }) => volume === 'big' && state === 'running')
    return move !== undefined && move.bytesDone > 4 * MEBIBYTE && move.bytesDone
  })
  await lab.link(h3, 'down')
  await until('the cut is noticed', async () => (await agent.hosts()).filter(({ alive }) => alive).length < 2, {
    timeoutMs: 60_000,
  })
  await lab.link(h3, 'up')
  await lab.rate(h1, null)
  await lab.rate(h2, null)
  await until('the Mount succeeds', async () => (await shell(h3, t.context, 'big', 'true', true)).code === 0, {
    timeoutMs: 120_000,
  })
  const moves = (await agent.moves()).filter((move) => move.volume === 'big')
  const moved = moves.reduce((sum, move) => sum + move.bytesDone, 0)
  t.true(before > 4 * MEBIBYTE)
  // What was on the wire at the cut may have been sent twice; what was staged may not.
  t.true(moved < SIZE_MEBIBYTES * MEBIBYTE + before / 2, `${moved} bytes moved in all`)
  await idle(h3, 'big')
  t.deepEqual(await listTree(await treeOf(h3, 'big')), await listTree(await treeOf(h1, 'big')))
})

test.serial(
  'promise 2: data that is only on an unreachable host is never replaced by an empty directory',
  async (t) => {
    const { h1, h2, lab } = t.context
    await h1.docker(['volume', 'create', '--driver', 'wherry', 'only'])
    await shell(h1, t.context, 'only', 'echo precious >/data/file')
    await idle(h1, 'only')
    t.teardown(() => lab.link(h1, 'up'))
    await lab.link(h1, 'down')
    await using agent = agentOf(h2)
    await missed(agent, 'h1')
    const refused = await shell(h2, t.context, 'only', 'ls -A /data', true)
    t.not(refused.code, 0)
    t.is(refused.stdout, '', 'no container ran')
    t.regex(refused.stderr, /"only".* on:? h1 \(10\.88\.0\.1\), not heard from for \d+ s/)
    await lab.link(h1, 'up')
    await whenAgentReady(h1, 3)
    t.is(
      await until(
        'the data is back',
        async () => {
          const again = await shell(h2, t.context, 'only', 'cat /data/file', true)
          return again.code === 0 && again.stdout
        },
        { timeoutMs: 90_000 },
      ),
      'precious\n',
    )
  },
)

test.serial('promise 2: a volume held by an unreachable host is refused with that host named', async (t) => {
  const { h1, h2, lab } = t.context
  await h1.docker(['volume', 'create', '--driver', 'wherry', '-o', 'copies=1', 'busy'])
  const mount = ['-v', 'busy:/data', '--volume-driver', 'wherry']
  await h1.docker([
    'run',
    '-d',
    '--name',
    'writer',
    ...mount,
    t.context.image,
    'sh',
    '-c',
    'echo x >/data/x; sleep 3600',
  ])
  await using agent = agentOf(h2)
  await until('h2 hears of the writer', async () => (await agent.get('busy')).holder?.containers.includes('writer'))
  t.teardown(() => lab.link(h1, 'up'))
  await lab.link(h1, 'down')
  await missed(agent, 'h1')
  const waits = await shell(h2, t.context, 'busy', 'ls -A /data', true)
  t.not(waits.code, 0)
  t.regex(waits.stderr, /"busy" is held by host h1 \(10\.88\.0\.1\), not heard from for \d+ s/)
  const refused = await until(
    'its lease is over',
    async () => {
      const tried = await shell(h2, t.context, 'busy', 'ls -A /data', true)
      return tried.stderr.includes('not taken over') && tried
    },
    { timeoutMs: 60_000 },
  )
  t.not(refused.code, 0)
  t.is(refused.stdout, '')
  const why = 'no host that can be reached has a checkpoint'
  t.regex(
    refused.stderr,
    new RegExp(`h1 \\(10\\.88\\.0\\.1\\), not heard from for \\d+ s, and is not taken over: ${why}`),
  )
  t.regex(refused.stderr, /Bring that host back; nothing else has its data/)
  await lab.link(h1, 'up')
  await whenAgentReady(h1, 3)
  await h1.docker(['rm', '-f', 'writer'])
  await idle(h1, 'busy')
  t.is((await shell(h2, t.context, 'busy', 'cat /data/x')).stdout, 'x\n')
})

test.serial('a host whose disk is too full for the volume says so at once and harms nothing', async (t) => {
  const { h1, h3 } = t.context
  await h1.docker(['volume', 'create', '--driver', 'wherry', 'wide'])
  await shell(h1, t.context, 'wide', `dd if=/dev/urandom of=/data/blob bs=1M count=${SIZE_MEBIBYTES} 2>/dev/null; sync`)
  await idle(h1, 'wide')
  await h3.exec(['sh', '-c', `dd if=/dev/zero of=${h3.stateDir}/ballast bs=1M count=400 2>/dev/null || true`])
  const refused = await shell(h3, t.context, 'wide', 'true', true)
  t.not(refused.code, 0)
  t.regex(refused.stderr, /wide.*\d+ (MB|MiB|bytes)/)
  t.regex(refused.stderr, /space|full/)
  await h3.exec(['rm', `${h3.stateDir}/ballast`])
  t.is((await shell(h3, t.context, 'wide', 'wc -c </data/blob')).stdout.trim(), String(SIZE_MEBIBYTES * MEBIBYTE))
})

test.serial(
  'a process of a host that reads a volume does not keep it there; one that can write is named elsewhere',
  async (t) => {
    const { h1, h2 } = t.context
    await h1.docker(['volume', 'create', '--driver', 'wherry', 'shipped'])
    await sleeper(h1, t.context, 'shipped', 'logged')
    await writeFile(`${await treeOf(h1, 'shipped')}/log`, 'hello')
    const mountpoint = await mountpointOf(h1, 'shipped')
    const reading = await stayer(h1, `exec 9<${mountpoint}/log; cd ${mountpoint}`)
    await h1.docker(['rm', '-f', 'logged'])
    const read = await shell(h2, t.context, 'shipped', 'cat /data/log', true)
    t.is(read.stdout, 'hello', read.stderr)
    await reading.end()

    await sleeper(h2, t.context, 'shipped', 'logged')
    const writing = await stayer(h2, `exec 9>>${await mountpointOf(h2, 'shipped')}/log`)
    await h2.docker(['rm', '-f', 'logged'])
    const refused = await shell(h1, t.context, 'shipped', 'cat /data/log', true)
    t.regex(refused.stderr, /host h2 .*VOLUME_BUSY.*propagated-mount.*process \d+ \(\w+\) can write/s)
    t.regex(String((await inspect(h1, 'shipped'))?.Status?.stuck), /^h2 .*process \d+/)
    await writing.end()
    const followed = await until('the volume follows once the writer has ended', async () => {
      const again = await shell(h1, t.context, 'shipped', 'cat /data/log', true)
      return again.code === 0 && again.stdout
    })
    t.is(followed, 'hello')
  },
)

test.serial(
  'a volume is not released under a writer that has its directory in another way than as a volume',
  async (t) => {
    const { h1, h2, image } = t.context
    await h1.docker(['volume', 'create', '--driver', 'wherry', 'bound'])
    const movesBack = async (host: Host, what: string) =>
      await until(`the volume moves once ${what}`, async () => {
        const again = await shell(host, t.context, 'bound', 'cat /data/log', true)
        return again.code === 0 && again.stdout
      })
    await sleeper(h1, t.context, 'bound', 'first')
    const byPath = ['-v', `${await mountpointOf(h1, 'bound')}:/x`, image, 'sh', '-c']
    await h1.docker(['run', '-d', '--name', 'by-path', ...byPath, 'exec 9>>/x/log; echo one >&9; sleep 3600'])
    await h1.docker(['rm', '-f', 'first'])
    const refused = await shell(h2, t.context, 'bound', 'cat /data/log', true)
    const writer = (await h1.docker(['ps', '-q', '--filter', 'name=by-path'])).stdout.trim()
    t.regex(refused.stderr, /host h1 .*VOLUME_BUSY.*process \d+ \(\w+\) can write/s)
    t.true(refused.stderr.includes(`can write in container ${writer}`), refused.stderr)
    await h1.docker(['rm', '-f', 'by-path'])
    t.is(await movesBack(h2, 'the writer has ended'), 'one\n')

    await sleeper(h2, t.context, 'bound', 'second')
    const pid = (await h2.docker(['inspect', '-f', '{{.State.Pid}}', 'second'])).stdout.trim()
    const there = `cd /proc/${pid}/root/data && sleep 3600`
    await h2.docker(['run', '-d', '--name', 'debugger', '--privileged', '--pid', 'host', image, 'sh', '-c', there])
    const onlyHere = ['-v', `${await mountpointOf(h2, 'bound')}:/x`, image, 'sleep', '3600']
    await h2.docker(['run', '-d', '--name', 'idle-path', ...onlyHere])
    await until('the debugger is there', async () => (await h2.docker(['top', 'debugger'])).stdout.includes('sleep'))
    await h2.docker(['rm', '-f', 'second'])
    const again = await shell(h1, t.context, 'bound', 'cat /data/log', true)
    t.regex(again.stderr, /host h2 .*VOLUME_BUSY.*process \d+ \(\w+\) can write/s)
    await h2.docker(['rm', '-f', 'debugger'])
    t.is(await movesBack(h1, 'the debugger has ended'), 'one\n')
    const late = await h2.docker(['exec', 'idle-path', 'sh', '-c', 'cat /x/log; echo two >>/x/log'], {
      allowFailure: true,
    })
    t.is(late.stdout, 'one\n')
    t.regex(late.stderr, /Read-only file system/)
    await h2.docker(['rm', '-f', 'idle-path'])
  },
)

test.serial(
  'a host whose disk has become read-only says so everywhere, is fenced, and its volumes go on elsewhere',
  async (t) => {
    t.timeout(240_000)
    const { h1, h2, h3 } = t.context
    const volumes = ['alone', 'served', 'stopped'] as const
    await h3.docker(['volume', 'create', '--driver', 'wherry', '-o', 'copies=1', 'alone'])
    for (const volume of volumes) await startCounter(h3, t.context, volume)
    const trees = {
      alone: await treeOf(h3, 'alone'),
      served: await treeOf(h3, 'served'),
      stopped: await treeOf(h3, 'stopped'),
    }
    await using agent = agentOf(h2)
    for (const volume of ['served', 'stopped'])
      await until(`a checkpoint of ${volume} elsewhere`, async () => (await agent.get(volume)).elsewhere !== null)
    await breakDisk(h3)

    const disk = /^h3 cannot write its state directory, since .* \(EROFS\)/
    const isSaid = async (host: Host) => {
      const said = await Promise.all(volumes.map(async (volume) => (await inspect(host, volume))?.Status?.holder_disk))
      return said.every((line) => disk.test(String(line)))
    }
    await Promise.all([h1, h2].map((host) => until(`${host.name} says it`, () => isSaid(host))))
    t.regex((await wherry(h2, 'ls')).stdout, /^served .*EROFS/m)
    t.regex(await agent.metrics(), /^wherry_holder_unwritable_seconds\{.*served.*EROFS.*\} /m)
    const refused = await shell(h1, t.context, 'served', 'true', true)
    t.regex(refused.stderr, /"served" is .* host h3 .*cannot write its state directory \(EROFS\)/)
    t.is(await stateOf(h3, 'served'), 'paused')
    t.is(await stateOf(h3, 'alone'), 'running', 'nothing else has its data')

    await h3.docker(['rm', '-f', 'stopped'])
    const stopped = await readFile(`${trees.stopped}/log`, 'utf8')
    t.is(await countedLater(h1, t.context, 'stopped'), stopped, 'also what no checkpoint had')
    const served = await countedLater(h1, t.context, 'served')
    t.true(served !== '' && (await readFile(`${trees.served}/log`, 'utf8')).startsWith(served))
    t.regex(String((await inspect(h2, 'served'))?.Status?.taken_over), /^by h1 from h3 .* what was written later/)

    await h3.docker(['rm', '-f', 'alone'])
    const { stderr } = await shell(h2, t.context, 'alone', 'true', true)
    t.regex(stderr, /"alone" is held by host h3 .*EROFS.*wherry promote alone/s)
    await wherry(h2, 'promote', 'alone')
    t.is(await countedLater(h2, t.context, 'alone'), await readFile(`${trees.alone}/log`, 'utf8'))
  },
)

/** Where the volume is mounted, as the host itself sees it. */
async function mountpointOf(host: Host, volume: string): Promise<string> {
  await using agent = agentOf(host)
  const { id } = await agent.get(volume)
  const { stdout } = await host.exec(['findmnt', '-n', '-r', '-o', 'TARGET'])
  const found = stdout.split('\n').find((target) => target.includes('propagated-mount') && target.endsWith(`/${id}`))
  if (found === undefined) throw new Error(`${volume} is not mounted on ${host.name}`)
  return found
}

/** A process of the host that has what `script` opens, and stays where that goes, until `end`. */
async function stayer(host: Host, script: string): Promise<{ end(): Promise<unknown> }> {
  const command = `${script}\nsleep 300 </dev/null >/dev/null 2>&1 &\necho $!`
  const pid = (await host.exec(['sh', '-c', command])).stdout.trim()
  return { end: () => host.exec(['kill', pid]) }
}

/** Resolves when the agent misses this host and only this one: the registry has got over the loss of its server. */
async function missed(agent: Agent, host: string): Promise<void> {
  await until(`${host} is missed`, async () => {
    const hosts = await agent.hosts()
    return hosts.length === 3 && hosts.every(({ name, alive }) => alive === (name !== host))
  })
}
