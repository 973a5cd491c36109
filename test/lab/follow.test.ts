import { existsSync } from 'node:fs'
import { chown, link, lutimes, mkdir, open, readFile, symlink, utimes, writeFile } from 'node:fs/promises'
import { DEFAULT_OPTIONS } from '../../agent/model/volume-options.ts'
import { until } from '../../lab/poll.ts'
import { agentOf, idle, inspect, onLab, shell, sleeper, treeOf } from './fixture.ts'
import { listTree } from './tree.ts'

const MOUNT_DEADLINE_SECONDS = 5
const test = onLab({}, { WHERRY_MOUNT_DEADLINE: `${MOUNT_DEADLINE_SECONDS}s` })

test.serial(
  'promise 3: what a container wrote on host 1 is read on hosts 2 and 3, every byte and attribute',
  async (t) => {
    const { h1, h2, h3 } = t.context
    await h1.docker([
      'volume',
      'create',
      '--driver',
      'wherry',
      '-o',
      'uid=70',
      '-o',
      'gid=71',
      '-o',
      'mode=0750',
      'data',
    ])
    await shell(h1, t.context, 'data', 'echo hello >/data/greeting; mkdir -p /data/a/b; ln -s ../greeting /data/a/link')
    await idle(h1, 'data')
    // More than a shell makes: written through a mount of the volume, as a container would.
    await sleeper(h1, t.context, 'data', 'odd')
    await makeOddities(await treeOf(h1, 'data'))
    await h1.docker(['rm', '-f', 'odd'])
    await idle(h1, 'data')
    const original = await listTree(await treeOf(h1, 'data'))
    t.true(original[0]?.startsWith('. 40750 70:71 '), original[0])

    for (const host of [h2, h3]) {
      const { stdout } = await shell(host, t.context, 'data', 'cat /data/greeting; stat -c "%u:%g %a" /data')
      t.is(stdout, 'hello\n70:71 750\n')
      await idle(host, 'data')
      t.deepEqual(await listTree(await treeOf(host, 'data')), original, host.name)
    }
    await shell(h3, t.context, 'data', 'echo from h3 >>/data/greeting')
    t.is((await shell(h1, t.context, 'data', 'cat /data/greeting')).stdout, 'hello\nfrom h3\n')
  },
)

test.serial('copies left behind by a move catch up when the volume has been idle for a while', async (t) => {
  const { h2, h3 } = t.context
  await shell(h3, t.context, 'data', 'rm /data/sparse; echo late >/data/late')
  await idle(h3, 'data')
  const newest = await listTree(await treeOf(h3, 'data'))
  await until(
    'the copy on h2 is current again',
    async () => /h2: current/.test(String((await inspect(h2, 'data'))?.Status?.copies)),
    { timeoutMs: 60_000 },
  )
  t.deepEqual(await listTree(await treeOf(h2, 'data')), newest)
})

test.serial(
  'promise 11: an engine that dies with its containers never sends Unmount; the volume is released all the same',
  async (t) => {
    const { h1, h2 } = t.context
    await h1.docker(['volume', 'create', '--driver', 'wherry', 'orphan'])
    await sleeper(h1, t.context, 'orphan', 'orphaned')
    await h1.docker(['exec', 'orphaned', 'sh', '-c', 'echo kept >/data/file'])
    await h1.killEngine()
    await h1.startEngine()
    t.not((await h1.docker(['inspect', '-f', '{{.State.Status}}', 'orphaned'])).stdout.trim(), 'running')
    await until(
      'released',
      async () => (await shell(h2, t.context, 'orphan', 'cat /data/file', true)).stdout === 'kept\n',
      {
        timeoutMs: 90_000,
      },
    )
    await h1.docker(['rm', 'orphaned'])
    t.is((await shell(h1, t.context, 'orphan', 'cat /data/file')).stdout, 'kept\n')
  },
)

test.serial('a copy that has rotted on the disk is found by verify and made whole from another host', async (t) => {
  const { h1, h2 } = t.context
  await shell(h1, t.context, 'rot', 'head -c 3000000 /dev/urandom >/data/blob')
  await shell(h2, t.context, 'rot', 'true')
  await idle(h2, 'rot')
  const blob = `${await treeOf(h1, 'rot')}/blob`
  const content = await readFile(blob)
  const file = await open(blob, 'r+')
  await file.write(Buffer.from([(content[1_000_000] ?? 0) ^ 1]), 0, 1, 1_000_000)
  await file.close()
  await using agent = agentOf(h1)
  const found = await agent.verify('rot')
  t.true(found.repairing)
  const rotten = found.damaged.filter(({ reason }) => reason === 'content')
  t.deepEqual(
    rotten.map(({ path, blocks }) => [path, blocks]),
    [['"blob"', 1]],
  )
  await until('the copy is whole again', async () => (await readFile(blob)).equals(content))
  await until('it counts again', async () =>
    (await agent.get('rot')).copies.some(({ host, state }) => host === 'h1' && state === 'current'),
  )
  t.is((await agent.verify('rot')).damagedCount, 0)
})

test.serial('every host lists the volume and shows its holder and copies in its Status', async (t) => {
  const { h1, h2, h3 } = t.context
  await sleeper(h2, t.context, 'data', 'holder')
  for (const host of [h1, h2, h3]) {
    const { stdout } = await host.docker(['volume', 'ls', '--format', '{{.Driver}} {{.Name}}'])
    t.regex(stdout, /^wherry(:latest)? data$/m)
    const status = await until(`${host.name} hears of the container`, async () => {
      const found = (await inspect(host, 'data'))?.Status
      return JSON.stringify(found).includes('holder') && JSON.stringify(found?.containers).includes('holder') && found
    })
    t.regex(JSON.stringify(status.holder), /h2/)
    t.regex(JSON.stringify(status.copies), /h1.*h2.*h3|h1.*h3.*h2|h2.*h1.*h3|h2.*h3.*h1|h3.*h1.*h2|h3.*h2.*h1/)
  }
  t.regex((await inspect(h2, 'data'))?.Mountpoint ?? '', /\/.+/)
})

test.serial(
  'promise 1: while a container has it, a Mount elsewhere fails at the deadline and names host and container',
  async (t) => {
    const { h1, h2 } = t.context
    const started = performance.now()
    const refused = await shell(h1, t.context, 'data', 'true', true)
    const seconds = (performance.now() - started) / 1000
    t.not(refused.code, 0)
    t.regex(refused.stderr, /"data" is in use on host h2 \(10\.88\.0\.2\) by container holder/)
    t.true(seconds < MOUNT_DEADLINE_SECONDS + 10, `answered after ${seconds} s`)
    await h2.docker(['exec', 'holder', 'sh', '-c', 'echo still writing >/data/proof; cat /data/proof'])
    t.is((await h2.docker(['inspect', '-f', '{{.State.Status}}', 'holder'])).stdout.trim(), 'running')
  },
)

test.serial(
  'two containers of one host share the volume, and the first to end leaves it mounted (promise 8)',
  async (t) => {
    const { h2 } = t.context
    await sleeper(h2, t.context, 'data', 'second')
    await h2.docker(['cp', 'second:/data/proof', '/tmp/proof-of-copy'])
    await h2.docker(['rm', '-f', 'second'])
    t.is((await h2.docker(['exec', 'holder', 'cat', '/data/proof'])).stdout, 'still writing\n')
    await using agent = agentOf(h2)
    t.is((await agent.get('data')).holder?.host, 'h2')
  },
)

test.serial('a container that Docker restarts over and over keeps its volume, and its data', async (t) => {
  const { h1, h2 } = t.context
  await h1.docker(['volume', 'create', '--driver', 'wherry', 'loop'])
  const mount = ['-v', 'loop:/data', '--volume-driver', 'wherry', '--restart', 'on-failure:4']
  const once = ['sh', '-c', 'echo run >>/data/runs; exit 1']
  await h1.docker(['run', '-d', '--name', 'looping', ...mount, t.context.image, ...once])
  await until('all runs are over', async () => {
    const { stdout } = await h1.docker(['inspect', '-f', '{{.State.Status}} {{.RestartCount}}', 'looping'])
    return stdout.trim() === 'exited 4'
  })
  await h1.docker(['rm', 'looping'])
  t.is((await shell(h2, t.context, 'loop', 'wc -l </data/runs')).stdout.trim(), '5')
})

test.serial(
  'a volume in use is not removed; an idle one is gone from every host and its name starts anew',
  async (t) => {
    const { h1, h2, h3 } = t.context
    const before = (await inspect(h1, 'data'))?.Status?.id
    const refused = await h1.docker(['volume', 'rm', 'data'], { allowFailure: true })
    t.not(refused.code, 0)
    t.regex(refused.stderr, /in use on host h2 .* by container holder/)
    await h2.docker(['rm', '-f', 'holder'])
    await idle(h1, 'data')
    const tree = await treeOf(h2, 'data')
    t.true(existsSync(tree))
    await h1.docker(['volume', 'rm', 'data'])
    for (const host of [h1, h2, h3]) {
      t.notRegex((await host.docker(['volume', 'ls', '--format', '{{.Name}}'])).stdout, /^data$/m, host.name)
    }
    await until('the copy on h2 is put away', () => !existsSync(tree))
    t.regex((await h2.exec(['ls', `${h2.stateDir}/trash`])).stdout, new RegExp(String(before)), 'kept in the trash')

    await h3.docker(['volume', 'create', '--driver', 'wherry', 'data'])
    const after = (await inspect(h3, 'data'))?.Status?.id
    t.is(typeof after, 'string')
    t.not(after, before)
    t.is((await shell(h2, t.context, 'data', 'ls -A /data')).stdout, '')
  },
)

test.serial('create refuses what it does not know, and repeats what is there', async (t) => {
  const { h1, h2 } = t.context
  const bad = await h1.docker(['volume', 'create', '--driver', 'wherry', '-o', 'size=10G', 'x'], { allowFailure: true })
  t.not(bad.code, 0)
  t.regex(bad.stderr, /size.*uid.*gid.*mode/s)
  await h1.docker(['volume', 'create', '--driver', 'wherry', 'again'])
  await h2.docker(['volume', 'create', '--driver', 'wherry', 'again'])
  await using agent = agentOf(h2)
  await t.throwsAsync(agent.create('again', { ...DEFAULT_OPTIONS, uid: 1 }), { message: /exists with other options/ })
})

test.serial(
  'promise 2: a local volume with the name of a volume is told of on the other hosts until it is removed',
  async (t) => {
    const { h1, h3 } = t.context
    await h1.docker(['volume', 'create', '--driver', 'wherry', 'twice'])
    await h3.docker(['volume', 'create', '--driver', 'local', 'twice'])
    const told = async () => (await inspect(h1, 'twice'))?.Status?.local_namesake
    t.regex(String(await until('a warning', told)), /^h3: Docker has a volume "twice" of its own driver "local"/)
    t.regex(h3.engineLog(), /engine has a volume of driver local with this name.* volume=twice/)
    await h3.docker(['volume', 'rm', 'twice'])
    await until('no warning', async () => (await told()) === undefined)
    t.is((await inspect(h3, 'twice'))?.Status?.holder, 'none')
  },
)

/** Entries that a careless copy loses. */
async function makeOddities(tree: string): Promise<void> {
  const name = (bytes: number[]) => Buffer.concat([Buffer.from(`${tree}/`), Buffer.from(bytes)])
  await writeFile(name([0xff, 0xfe, 0x20, 0x0a]), 'name is not UTF-8')
  await writeFile(`${tree}/empty`, '')
  await mkdir(`${tree}/empty-directory`, { mode: 0o2711 })
  await chown(`${tree}/empty-directory`, 1234, 4321)
  const sparse = await open(`${tree}/sparse`, 'w', 0o600)
  await sparse.write('end', 50_000_000)
  await sparse.close()
  await link(`${tree}/empty`, `${tree}/hard-link`)
  await symlink('/nowhere/at/all', `${tree}/dangling`)
  await lutimes(`${tree}/dangling`, 1.5, 2.25)
  await utimes(`${tree}/empty`, 1_000_000_000.123, 1_000_000_000.456)
}
