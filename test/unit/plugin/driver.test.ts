import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { WherryError } from '../../../agent/model/errors.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { untilTrue } from '../until.ts'
import { asDockerd, exchange, startPlugin } from './engine.ts'

test("a volume's life in dockerd's calls", async (t) => {
  await using plugin = await startPlugin()
  await plugin.serveAgent()
  t.deepEqual((await plugin.call('Plugin.Activate', ''))?.body, { Implements: ['VolumeDriver'] })
  t.deepEqual((await plugin.call('VolumeDriver.Capabilities'))?.body, { Capabilities: { Scope: 'global' } })
  t.deepEqual(await plugin.call('VolumeDriver.Create', { Name: 'data', Opts: { uid: '999', mode: '0750' } }), {
    status: 200,
    contentType: 'application/vnd.docker.plugins.v1.2+json',
    body: {},
  })
  t.deepEqual(plugin.mobility.volumes.get('data')?.options, { ...DEFAULT_OPTIONS, uid: 999, mode: 0o750 })
  t.deepEqual((await plugin.call('VolumeDriver.Mount', { Name: 'data', ID: 'm1' }))?.body, {
    Mountpoint: '/mnt/wherry/id-of-data',
  })
  t.deepEqual([...plugin.mobility.mounts], ['data/m1'])
  t.deepEqual((await plugin.call('VolumeDriver.Path', { Name: 'data' }))?.body, { Mountpoint: '' })
  t.deepEqual((await plugin.call('VolumeDriver.Unmount', { Name: 'data', ID: 'm1' }))?.body, {})
  t.is(plugin.mobility.mounts.size, 0)
  const list = (await plugin.call('VolumeDriver.List'))?.body as { Volumes: { Name: string }[] }
  t.deepEqual(
    list.Volumes.map((volume) => volume.Name),
    ['data'],
  )
  t.deepEqual((await plugin.call('VolumeDriver.Remove', { Name: 'data' }))?.body, {})
  t.is(plugin.mobility.volumes.size, 0)
})

test('the mount gets the time that is left', async (t) => {
  await using plugin = await startPlugin({ mountDeadlineMs: 5_000 })
  await plugin.serveAgent()
  await plugin.call('VolumeDriver.Create', { Name: 'data' })
  await plugin.call('VolumeDriver.Mount', { Name: 'data', ID: 'm1' })
  const deadlineMs = Number(plugin.mobility.calls.at(-1)?.split(' ').at(-1))
  t.true(deadlineMs > 4_000 && deadlineMs <= 5_000, `${deadlineMs}`)
})

test('Get shows holder, containers, checkpoint, copies and move, each as one readable line', async (t) => {
  await using plugin = await startPlugin()
  await plugin.serveAgent()
  await plugin.call('VolumeDriver.Create', { Name: 'data', Opts: null })
  const made = plugin.mobility.volumes.get('data')
  if (made === undefined) return t.fail()
  const at = '2026-01-02T03:04:06.000Z'
  plugin.mobility.volumes.set('data', {
    ...made,
    mountpoint: '/mnt/wherry/x',
    stale: true,
    epoch: 3,
    holder: { host: 'h1', address: '10.0.0.1', since: at, epoch: 3, containers: ['db', 'backup'], away: null },
    elsewhere: { epoch: 2, seq: 7, ageSeconds: 4.2 },
    last: { epoch: 2, seq: 7, hash: 'ab', at, bytes: 1_234_567, files: 42 },
    copies: [
      { host: 'h1', address: '10.0.0.1', state: 'current', epoch: 2, seq: 7, at, awaySince: null, why: null },
      {
        host: 'h2',
        address: '10.0.0.2',
        state: 'behind',
        epoch: 2,
        seq: 6,
        at,
        awaySince: null,
        why: 'not heard from for 34 s',
      },
    ],
    move: {
      volume: 'data',
      id: made.id,
      from: 'h1',
      to: 'h2',
      startedAt: at,
      bytesDone: 500,
      bytesTotal: 120_000_000,
      filesDone: 3,
      filesTotal: 10,
      bytesPerSecond: 1_500_000,
      secondsLeft: 11.2,
      state: 'running',
      error: null,
      seconds: 1,
    },
  })
  t.deepEqual((await plugin.call('VolumeDriver.Get', { Name: 'data' }))?.body, {
    Volume: {
      Name: 'data',
      Mountpoint: '/mnt/wherry/x',
      CreatedAt: '2026-01-02T03:04:05.678Z',
      Status: {
        id: 'id-of-data',
        holder: 'h1',
        host: '10.0.0.1',
        since: at,
        containers: 'db, backup',
        epoch: 3,
        checkpoint: `epoch 2, seq 7, 42 files, 1.2 MB, ${at}`,
        copies: 'h1: current (2.7), h2: behind (2.6; not heard from for 34 s)',
        move: 'h1 to h2, running, 500 B of 120 MB, 3 of 10 files, 1.5 MB/s, about 12 s left',
        options: 'uid=0 gid=0 mode=0755 copies=2 checkpoint=auto consistency=pause failover=auto on_isolation=pause',
        checkpoint_age: '4 s old on another host (2.7)',
        stale: 'the registry has not replied to this host: this is the last known state',
      },
    },
  })
})

test('Get says what went wrong with a volume, a line for each, and nothing of that while all is well', async (t) => {
  await using plugin = await startPlugin()
  await plugin.serveAgent()
  await plugin.call('VolumeDriver.Create', { Name: 'data', Opts: { consistency: 'live' } })
  const made = plugin.mobility.volumes.get('data')
  if (made === undefined) return t.fail()
  const at = '2026-01-02T03:04:06.000Z'
  const holder = { host: 'h1', address: '10.0.0.1', since: at, epoch: 3, containers: ['db'] }
  const error = 'The containers would have had to stand still for more than 500 ms.'
  plugin.mobility.volumes.set('data', {
    ...made,
    holder: { ...holder, away: 'not heard from for 34 s' },
    checkpointing: {
      state: 'fuzzy',
      ageSeconds: 60,
      pauseMs: 35.4,
      intervalMs: 40_000,
      error,
      failures: 3,
      scanned: 'the file system is btrfs',
    },
    copies: [{ host: 'h2', address: '10.0.0.2', state: 'behind', epoch: 2, seq: 6, at, awaySince: null, why: null }],
    fenced: ['db'],
    seizure: { from: 'h3', by: 'h1', at, epoch: 2, seq: 9, ageSeconds: 7 },
    diverged: [{ name: '1-2-x', epoch: 1, base: { epoch: 1, seq: 2 }, at, bytes: 1_500_000 }],
    divergedElsewhere: [{ host: 'h3', trees: 2 }],
    namesakes: ['h2'],
  })
  const answer = await plugin.call('VolumeDriver.Get', { Name: 'data' })
  const { Status } = (answer?.body.Volume ?? {}) as { Status: Record<string, string> }
  t.like(Status, {
    holder_away: 'not heard from for 34 s',
    checkpoint_age: 'no other host has the newest checkpoint: what was written since theirs is on h1 alone',
    checkpoints:
      'every 40 s instead of 10 s (WHERRY_CHECKPOINT_SHARE), containers frozen for 35 ms by the last one, changed ' +
      `files are read whole (the file system is btrfs), the last 3 attempts failed: ${error}`,
    consistency: 'live: in a checkpoint of a volume in use, files may be from different instants',
    taken_over: `by h1 from h3 at ${at}, at checkpoint 2.9, which was 7 s old: what was written later is missing`,
  })
  t.regex(Status.local_namesake ?? '', /^h2: Docker has a volume "data" .* without this data; .*docker volume rm data/)
  t.regex(Status.fenced ?? '', /^db: paused, because this host has lost its lease/)
  t.regex(
    Status.diverged ?? '',
    /^volumes\/id-of-data\/diverged\/1-2-x in .*: 1\.5 MB with writes of epoch 1 .*; 2 on h3: inspect/,
  )
  plugin.mobility.volumes.set('data', { ...made, options: DEFAULT_OPTIONS })
  const well = ((await plugin.call('VolumeDriver.Get', { Name: 'data' }))?.body.Volume ?? {}) as { Status: object }
  const always = ['id', 'holder', 'host', 'since', 'containers', 'epoch', 'checkpoint', 'copies', 'move', 'options']
  t.deepEqual(Object.keys(well.Status), always)
})

test('an unreadable time of creation is left out: dockerd would take the answer for "no such volume"', async (t) => {
  await using plugin = await startPlugin()
  await plugin.serveAgent()
  await plugin.call('VolumeDriver.Create', { Name: 'data' })
  const made = plugin.mobility.volumes.get('data')
  if (made === undefined) return t.fail()
  plugin.mobility.volumes.set('data', { ...made, createdAt: 'yesterday' })
  const answer = await plugin.call('VolumeDriver.Get', { Name: 'data' })
  t.deepEqual(Object.keys(answer?.body.Volume as object), ['Name', 'Mountpoint', 'Status'])
})

test('requests are understood in all the forms engines send them', async (t) => {
  await using plugin = await startPlugin()
  await plugin.serveAgent()
  const forms: [string | object, string[]][] = [
    [{ Name: 'a', Opts: null }, []],
    [{ Name: 'b' }, []],
    [{ Name: 'c', Opts: {} }, ['Content-Type: application/json']],
    [{ Name: 'd', Opts: { gid: '7' } }, ['Content-Type: application/x-www-form-urlencoded']],
    ['  {"Name":"e","Opts":{},"Labels":{"a":"b"}}  ', ['Content-Type: text/plain; charset=x']],
  ]
  for (const [body, headers] of forms) {
    t.deepEqual((await plugin.call('VolumeDriver.Create', body, headers))?.body, {}, JSON.stringify(body))
  }
  t.deepEqual([...plugin.mobility.volumes.keys()], ['a', 'b', 'c', 'd', 'e'])
  const chunked = 'POST /VolumeDriver.Create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n'
  t.is((await exchange(plugin.socketPath, `${chunked}c\r\n{"Name":"f"}\r\n0\r\n\r\n`))?.status, 200)
  t.is((await exchange(plugin.socketPath, asDockerd('VolumeDriver.List', '')))?.status, 200)
})

test('refusals are HTTP 500 with one line that says what is accepted', async (t) => {
  await using plugin = await startPlugin()
  await plugin.serveAgent()
  await plugin.call('VolumeDriver.Create', { Name: 'data' })
  const refusals: [string, object | string, RegExp][] = [
    [
      'VolumeDriver.Create',
      { Name: 'x', Opts: { size: '10G' } },
      /no option "size".*uid, gid, mode, copies.*-o mode=0750/,
    ],
    ['VolumeDriver.Create', { Name: 'x', Opts: { uid: '4294967295' } }, /uid must be a number from 0 to 4294967294/],
    ['VolumeDriver.Create', { Name: 'x', Opts: { gid: 'staff' } }, /gid must be .* example 999; it is "staff"/],
    ['VolumeDriver.Create', { Name: 'x', Opts: { mode: '0888' } }, /mode must be an octal number/],
    ['VolumeDriver.Create', { Name: 'x', Opts: { mode: '17777' } }, /mode must be/],
    ['VolumeDriver.Create', { Name: 'x', Opts: { uid: '' } }, /uid must be/],
    ['VolumeDriver.Create', { Name: 'x', Opts: { uid: '-1', foo: 'b' } }, /uid must be .*; there is no option "foo"/],
    ['VolumeDriver.Create', { Name: '' }, /cannot be the name/],
    ['VolumeDriver.Create', { Name: '../x' }, /cannot be the name.*for example "data-1"/],
    ['VolumeDriver.Create', { Name: 'x'.repeat(256) }, /at most 255/],
    ['VolumeDriver.Create', { Name: 'data', Opts: { uid: '1' } }, /exists with other options/],
    ['VolumeDriver.Create', '', /without its content.*try again/],
    ['VolumeDriver.Create', '{"Name":', /not JSON/],
    ['VolumeDriver.Create', { Name: 7 }, /Name: /],
    ['VolumeDriver.Mount', '', /without its content/],
    ['VolumeDriver.Mount', { Name: 'data' }, /mount's id/],
    ['VolumeDriver.Mount', { Name: 'other', ID: 'm' }, /There is no volume "other"\. Create it first\./],
    ['VolumeDriver.Unmount', '', /without its content/],
    ['VolumeDriver.Remove', '', /without its content/],
    ['VolumeDriver.Remove', { Name: 'other' }, /no volume "other"/],
    ['VolumeDriver.Get', { Name: 'other' }, /no volume "other"/],
    ['VolumeDriver.Get', { Name: 'not/valid' }, /cannot be the name/],
    ['VolumeDriver.Snapshot', {}, /no call/],
    ['VolumeDriver.Create', { Name: 'x', Opts: { uid: '1'.repeat(70_000) } }, /longer than 65536 bytes/],
  ]
  for (const [call, body, line] of refusals) {
    const answer = await plugin.call(call, body)
    t.is(answer?.status, 500)
    t.regex(String(answer?.body.Err), line)
    t.false(String(answer?.body.Err).includes('\n'))
  }
  t.deepEqual([...plugin.mobility.volumes.keys()], ['data'])
})

test('promise 10: Get waits for an agent that is not there yet', async (t) => {
  await using plugin = await startPlugin()
  const answer = plugin.call('VolumeDriver.Get', { Name: 'other' })
  await sleep(300)
  await plugin.serveAgent()
  t.regex(String((await answer)?.body.Err), /no volume "other"/)
})

test('promise 10: Get hangs up when the agent stays away, so that dockerd does not forget the volume', async (t) => {
  await using plugin = await startPlugin({ deadlineMs: 300 })
  const startMs = performance.now()
  t.is(await plugin.call('VolumeDriver.Get', { Name: 'data' }), null)
  t.true(performance.now() - startMs >= 190)
})

test('promise 10: Get hangs up on every error but "no such volume"', async (t) => {
  await using plugin = await startPlugin({ deadlineMs: 200 })
  await plugin.serveAgent()
  const failures = [
    new WherryError('REGISTRY_UNAVAILABLE', 'No leader.'),
    new WherryError('REQUEST_INVALID', 'What?'),
    new TypeError('a bug'),
  ]
  for (const failure of failures) {
    plugin.mobility.before = () => {
      throw failure
    }
    t.is(await plugin.call('VolumeDriver.Get', { Name: 'data' }), null, failure.message)
  }
})

test('promise 10: Get hangs up on the empty body that dockerd repeats a broken request with', async (t) => {
  await using plugin = await startPlugin()
  await plugin.serveAgent()
  t.is(await plugin.call('VolumeDriver.Get', ''), null)
  t.is(await plugin.call('VolumeDriver.Get', '{"Na'), null)
})

test('promise 10: Get waits while the registry has no leader, and answers when it is back', async (t) => {
  await using plugin = await startPlugin()
  await plugin.serveAgent()
  await plugin.call('VolumeDriver.Create', { Name: 'data' })
  let failures = 3
  plugin.mobility.before = () => {
    if (failures-- > 0) throw new WherryError('REGISTRY_UNAVAILABLE', 'No leader.')
  }
  t.is((await plugin.call('VolumeDriver.Get', { Name: 'data' }))?.status, 200)
})

test('List and Path say why they failed when the agent stays away', async (t) => {
  // Long enough for one attempt at least, however busy this process is with the other tests.
  await using plugin = await startPlugin({ deadlineMs: 3_000 })
  const calls = ['VolumeDriver.List', 'VolumeDriver.Path'].map((call) => plugin.call(call, { Name: 'data' }))
  for (const answer of await Promise.all(calls)) {
    t.is(answer?.status, 500)
    t.regex(String(answer?.body.Err), /agent on this host does not reply \(it is not running\)/)
  }
})

test('an agent that takes the call and never answers costs the deadline, not more', async (t) => {
  await using plugin = await startPlugin({ deadlineMs: 300 })
  await plugin.serveAgent()
  plugin.mobility.before = () => new Promise(() => {})
  const answer = await plugin.call('VolumeDriver.Create', { Name: 'data' })
  t.regex(String(answer?.body.Err), /did not answer within 0\.3 s/)
  t.is(await plugin.call('VolumeDriver.Get', { Name: 'data' }), null)
})

test('calls go on when the agent is restarted under them', async (t) => {
  await using plugin = await startPlugin()
  const first = await plugin.serveAgent()
  await plugin.call('VolumeDriver.Create', { Name: 'data' })
  let hangs = 0
  plugin.mobility.before = () => (hangs++ < 3 ? new Promise(() => {}) : undefined)
  const answers = Promise.all([
    plugin.call('VolumeDriver.Create', { Name: 'more' }),
    plugin.call('VolumeDriver.Mount', { Name: 'data', ID: 'm1' }),
    plugin.call('VolumeDriver.Get', { Name: 'data' }),
  ])
  await untilTrue(() => hangs >= 3)
  await first[Symbol.asyncDispose]()
  await plugin.serveAgent()
  for (const answer of await answers) t.is(answer?.status, 200)
  t.deepEqual([...plugin.mobility.mounts], ['data/m1'])
})

test('a Remove whose answer was lost is done when the repetition finds no volume', async (t) => {
  await using plugin = await startPlugin()
  const first = await plugin.serveAgent()
  await plugin.call('VolumeDriver.Create', { Name: 'data' })
  const remove = plugin.mobility.remove
  plugin.mobility.remove = async (name) => {
    await remove(name)
    plugin.mobility.remove = remove
    await new Promise(() => {})
  }
  const answer = plugin.call('VolumeDriver.Remove', { Name: 'data' })
  await untilTrue(() => plugin.mobility.volumes.size === 0)
  await first[Symbol.asyncDispose]()
  await plugin.serveAgent()
  t.deepEqual(await answer.then((a) => a?.body), {})
})
