import type { Host } from '../../lab/host.ts'
import { seeded } from '../../lab/images.ts'
import { until } from '../../lab/poll.ts'
import { changeSwarm } from '../../lab/swarm.ts'
import { agentOf, inspect, onLab, sleeper } from './fixture.ts'
import { movePair, PAIR } from './pair.ts'
import {
  containersOf,
  createService,
  failedTask,
  fileOf,
  leaveNothing,
  mountOf,
  moveService,
  only,
  running,
  runningOn,
  tasksOf,
  updateService,
  within,
  wordsInOrder,
  writing,
} from './services.ts'
import { scaleSlots } from './slots.ts'
import {
  deployStack,
  logGoesOn,
  removeStack,
  STACK_SERVICES,
  STACK_VOLUMES,
  stackFile,
  stackLog,
  tasksIn,
} from './stack.ts'

/** A tree of this many MiB takes seconds at this speed. */
const BANDWIDTH = '20MB/s'
const LARGE_MIB = 100
const TEST_MS = 300_000

const test = onLab(
  { swarm: true },
  { WHERRY_MOUNT_DEADLINE: '20s', WHERRY_BANDWIDTH: BANDWIDTH, WHERRY_REPLACE_AFTER: '15s' },
)

test.serial(
  'a node drained while it is demoted as the leader: two services that share a volume move together, also under the new leader',
  async (t) => {
    t.timeout(TEST_MS)
    await movePair(t)
    await leaveNothing(t, PAIR, ['pair'])
  },
)

test('a stack with 30 volumes starts at once, and finds its data after rm and deploy without a break', async (t) => {
  t.timeout(TEST_MS)
  const { h1, h2, h3, lab } = t.context
  await deployStack(h1, stackFile(t.context.image, { uid: '70', mode: '0750' }))
  for (const service of STACK_SERVICES) await running(t.context, service)
  for (const service of STACK_SERVICES) t.is((await tasksOf(h1, service)).length, 1, `${service}: no task failed`)
  await using agent = agentOf(h1)
  for (const name of STACK_VOLUMES) {
    await until(`the second checkpoint of ${name}`, async () => ((await agent.get(name)).last?.seq ?? 0) >= 2)
  }
  for (const volume of STACK_VOLUMES) {
    t.regex(String((await inspect(h3, volume))?.Status?.options), /uid=70.* mode=0750/, volume)
  }
  const before = await stackLog(t.context)
  await removeStack(h1)
  await deployStack(h2, stackFile(t.context.image, { uid: '70', mode: '0700', copies: '3' }))
  for (const service of STACK_SERVICES) await running(t.context, service)
  const [volume = ''] = STACK_VOLUMES
  t.regex(String((await inspect(h2, volume))?.Status?.options), /mode=0750 copies=2/, 'options never change')
  await until('a warning', () =>
    lab.hosts.some((host) => /asks for options.* asked=.copies=3 mode=0700/.test(host.engineLog())),
  )
  const log = await until('the new task writes', async () => {
    const found = await stackLog(t.context)
    return tasksIn(found) === 2 && found
  })
  logGoesOn(t, before, log)
  await removeStack(h1)
  await leaveNothing(t, [], STACK_VOLUMES)
})

test('stop-first, forced, and rolled-back updates keep the data; start-first elsewhere is refused and says why', async (t) => {
  t.timeout(TEST_MS)
  const { h1, lab } = t.context
  const tasks = async () => (await tasksOf(h1, 'roll')).length
  // The new task of start-first cannot be where the old one is.
  const args = [...only(h1), '--replicas-max-per-node', '1', '--update-monitor', '1s', '--env', 'RELEASE=1']
  await createService(t.context, { name: 'roll', mounts: [mountOf('roll')], args, script: writing('$RELEASE') })
  await runningOn(t.context, 'roll', h1)
  const away = ['--constraint-rm', 'node.hostname==h1', '--constraint-add', 'node.hostname!=h1']
  await updateService(t.context, 'roll', '--env-add', 'RELEASE=2', ...away)
  await until('the second task runs', async () => (await tasks()) === 2 && (await running(t.context, 'roll')))
  await updateService(t.context, 'roll', '--force')
  await until('the third task runs', async () => (await tasks()) === 3 && (await running(t.context, 'roll')))
  const [{ node = '' } = {}] = await running(t.context, 'roll')
  const holder = lab.hosts.find(({ name }) => name === node) ?? h1
  const before = await containersOf(holder, 'roll')
  t.is(before.length, 1)

  await updateService(t.context, 'roll', '--update-order', 'start-first', '--env-add', 'RELEASE=3')
  const refused = await failedTask(t.context, 'roll')
  t.not(refused.node, node)
  t.regex(refused.error, new RegExp(`Volume "roll" is in use on host ${node} .* by container roll\\.1\\.`))
  t.deepEqual(await containersOf(holder, 'roll'), before, 'the old task goes on')
  await changeSwarm(h1, ['service', 'rollback', '--detach', 'roll'])
  await until('only the old task is left', async () => {
    const wanted = (await tasksOf(h1, 'roll')).filter(({ desired }) => desired === 'Running')
    return wanted.length === 1 && wanted[0]?.node === node
  })
  t.deepEqual(await containersOf(holder, 'roll'), before, 'the old task goes on')
  const words = wordsInOrder(t, await fileOf(holder, 'roll', 'log'))
  t.deepEqual([...new Set(words)], ['1', '2'])
  await leaveNothing(t, ['roll'], ['roll'])
})

test('start-first on one host: old and new task share the volume for a moment, and it is not released', async (t) => {
  t.timeout(TEST_MS)
  const { h2 } = t.context
  const args = [...only(h2), '--update-order', 'start-first']
  const wish = { mounts: [mountOf('first')], args, script: `echo $RELEASE >>/data/releases; ${writing('x')}` }
  await createService(t.context, { name: 'first', ...wish, args: [...args, '--env', 'RELEASE=1'] })
  await createService(t.context, { name: 'beside', ...wish, args: [...args, '--env', 'RELEASE=beside'] })
  await runningOn(t.context, 'first', h2)
  await runningOn(t.context, 'beside', h2)
  const [beside = ''] = await containersOf(h2, 'beside')
  await using agent = agentOf(h2)
  const { epoch } = await agent.get('first')
  await updateService(t.context, 'first', '--env-add', 'RELEASE=2')
  await until('the new task wrote', async () => (await fileOf(h2, 'first', 'releases')).endsWith('2\n'))
  await until('only it runs', async () => (await containersOf(h2, 'first')).length === 1)
  t.deepEqual(await containersOf(h2, 'beside'), [beside], 'a service that shares the volume goes on')
  t.is((await agent.get('first')).epoch, epoch, 'the same hold')
  await leaveNothing(t, ['first', 'beside'], ['first'])
})

test('volumes by slot keep the data of their slot over scaling and moves, and count as used by their service', async (t) => {
  t.timeout(TEST_MS)
  await scaleSlots(t)
  await leaveNothing(t, ['slots'], ['slot-1', 'slot-2', 'slot-3'])
})

test('a global service gets one volume on one host only and says so on the others; volumes by node work', async (t) => {
  t.timeout(TEST_MS)
  const { lab } = t.context
  const args = ['--mode', 'global']
  await createService(t.context, { name: 'everywhere', mounts: [mountOf('everywhere')], args, script: writing('x') })
  const perNode = mountOf('node-{{.Node.Hostname}}')
  await createService(t.context, { name: 'per-node', mounts: [perNode], args, script: writing('x') })
  await running(t.context, 'per-node', 3)
  const [holder] = await running(t.context, 'everywhere', 1)
  const refused = await failedTask(t.context, 'everywhere')
  t.not(refused.node, holder?.node)
  t.regex(refused.error, new RegExp(`Volume "everywhere" is in use on host ${holder?.node} .* by container everywhere`))
  await running(t.context, 'everywhere', 1)
  for (const host of lab.hosts) {
    await until('a line', async () => /\n/.test(await fileOf(host, `node-${host.name}`, 'log').catch(() => '')))
  }
  const volumes = ['everywhere', ...lab.hosts.map(({ name }) => `node-${name}`)]
  await leaveNothing(t, ['everywhere', 'per-node'], volumes)
})

test('jobs: replicas take turns with one volume wherever they run; a global job has one volume a node', async (t) => {
  t.timeout(TEST_MS)
  const { h1, h2, h3, lab } = t.context
  const script = 'echo $HOSTNAME >>/data/log; sleep 1'
  const replicas = ['--mode', 'replicated-job', '--replicas', '3']
  const nodes = ['--mode', 'global-job']
  await createService(t.context, { name: 'job', mounts: [mountOf('job')], args: replicas, script })
  await createService(t.context, { name: 'node-job', mounts: [mountOf('job-{{.Node.ID}}')], args: nodes, script })
  for (const name of ['job', 'node-job']) {
    await until(`${name} is complete`, async () => {
      return (await tasksOf(h1, name)).filter(({ state }) => state.startsWith('Complete')).length === 3
    })
  }
  t.is((await tasksOf(h1, 'job')).length, 3, 'no task failed')
  await until('the last task has released it', async () => (await inspect(h2, 'job'))?.Status?.holder === 'none')
  await sleeper(h3, t.context, 'job', 'reader')
  t.is((await fileOf(h3, 'job', 'log')).split('\n').length, 4)
  await h3.docker(['rm', '-f', 'reader'])
  const format = ['-f', '{{.ID}}']
  const ids = await Promise.all(['h1', 'h2', 'h3'].map((name) => h1.docker(['node', 'inspect', name, ...format])))
  const volumes = ids.map(({ stdout }) => `job-${stdout.trim()}`)
  await changeSwarm(h1, ['service', 'rm', 'job', 'node-job'])
  if (lab.engine.version === '20.10') await Promise.all(lab.hosts.map(removeEndedJobs))
  await leaveNothing(t, [], ['job', ...volumes])
})

test('a service that is removed while its volume moves leaves no hold, no mount, and no third copy', async (t) => {
  t.timeout(TEST_MS)
  const { h1, h2, h3 } = t.context
  const fill = `test -e /data/done || head -c ${LARGE_MIB}m /dev/urandom >/data/blob; touch /data/done`
  const script = `trap 'exit 0' TERM; ${fill}; sleep 3600 & wait`
  const mounts = [mountOf('large', 'destination=/data,volume-opt=copies=1')]
  await createService(t.context, { name: 'large', mounts, args: only(h1), script })
  await runningOn(t.context, 'large', h1)
  await until('the volume is full', async () => (await within(h1, 'large', 'ls /data')).includes('done'))
  await moveService(t.context, 'large', h1, h2)
  await until('it is on its way', async () => {
    await using agent = agentOf(h2)
    return (await agent.moves()).some(({ volume, state, bytesDone }) => {
      return volume === 'large' && state === 'running' && bytesDone > 0
    })
  })
  await changeSwarm(h1, ['service', 'rm', 'large'])
  await until('one host has it, and nobody holds it', async () => {
    await using agent = agentOf(h3)
    const { holder, copies } = await agent.get('large')
    return holder === null && copies.length === 1 && copies[0]?.state === 'current'
  })
  await leaveNothing(t, [], ['large'])
})

test('an image with data: it is copied into a new volume, also while the old task runs, and never over data', async (t) => {
  t.timeout(TEST_MS)
  const { h1, h2, lab } = t.context
  const image = await lab.image(seeded)
  const wish = { image, script: `trap 'exit 0' TERM; sleep 3600 & wait`, args: only(h1) }
  await createService(t.context, { name: 'seeded', mounts: [mountOf('seeded')], ...wish })
  const empty = mountOf('unseeded', 'destination=/data,volume-nocopy=true')
  await createService(t.context, { name: 'unseeded', mounts: [empty], ...wish })
  await runningOn(t.context, 'seeded', h1)
  t.is(await within(h1, 'seeded', 'cat /data/seed; stat -c %u /data /data/seed'), 'of the image\n70\n70\n')
  await runningOn(t.context, 'unseeded', h1)
  t.is(await within(h1, 'unseeded', 'ls -A /data'), '')

  await within(h1, 'seeded', 'echo changed >/data/seed')
  const added = ['--mount-add', mountOf('seeded-too')]
  await updateService(t.context, 'unseeded', ...added, '--update-order', 'start-first')
  await until('the image is in the new volume', async () => {
    return (await fileOf(h1, 'seeded-too', 'seed').catch(() => '')) === 'of the image\n'
  })
  await moveService(t.context, 'seeded', h1, h2)
  await runningOn(t.context, 'seeded', h2)
  t.is(await within(h2, 'seeded', 'cat /data/seed'), 'changed\n')
  await until('its old volume is idle', async () => (await inspect(h2, 'unseeded'))?.Status?.holder === 'none')
  await leaveNothing(t, ['seeded', 'unseeded'], ['seeded', 'unseeded', 'seeded-too'])
})

test('a read-only mount cannot write, and its volume follows it as any other', async (t) => {
  t.timeout(TEST_MS)
  const { h2, h3 } = t.context
  await createService(t.context, { name: 'rw', mounts: [mountOf('ro')], args: only(h2), script: writing('rw') })
  await runningOn(t.context, 'rw', h2)
  const readOnly = mountOf('ro', 'destination=/data,readonly')
  const script = `trap 'exit 0' TERM; sleep 3600 & wait`
  await createService(t.context, { name: 'ro', mounts: [readOnly], args: only(h2), script })
  await runningOn(t.context, 'ro', h2)
  t.is(await within(h2, 'ro', 'touch /data/x 2>&1 || true'), 'touch: /data/x: Read-only file system\n')
  await changeSwarm(h2, ['service', 'rm', 'rw'])
  await moveService(t.context, 'ro', h2, h3)
  await runningOn(t.context, 'ro', h3)
  t.regex(await within(h3, 'ro', 'cat /data/log'), /^1 rw\n2 rw\n/)
  await leaveNothing(t, ['ro'], ['ro'])
})

test('a directory of a volume can be mounted alone, and the whole volume moves with it', async (t) => {
  t.timeout(TEST_MS)
  const { h1, h2, lab, image } = t.context
  const part = mountOf('part', 'destination=/data,volume-subpath=inner')
  if (lab.engine.version === '20.10') {
    const refused = await h1.docker(['run', '--mount', part, image, 'true'], { allowFailure: true })
    t.regex(refused.stderr, /volume-subpath/)
    return
  }
  await createService(t.context, { name: 'part', mounts: [part], args: only(h1), script: writing('part') })
  t.regex((await failedTask(t.context, 'part')).error, /inner/)
  await h1.docker(['run', '--rm', '--network', 'host', '--mount', mountOf('part'), image, 'mkdir', '/data/inner'])
  await runningOn(t.context, 'part', h1)
  await moveService(t.context, 'part', h1, h2)
  await runningOn(t.context, 'part', h2)
  wordsInOrder(t, await fileOf(h2, 'part', 'inner/log'))
  await leaveNothing(t, ['part'], ['part'])
})

test('a task with three volumes of which one is in use elsewhere gets none, and the others are released again', async (t) => {
  t.timeout(TEST_MS)
  const { h1, h3 } = t.context
  await sleeper(h3, t.context, 'taken', 'taker')
  await sleeper(h1, t.context, 'one', 'sharer')
  const mounts = ['one', 'taken', 'two'].map((name) => mountOf(name, `destination=/${name}`))
  await createService(t.context, {
    name: 'three',
    mounts,
    args: only(h1),
    script: writing('x', '/one/log', '/two/log'),
  })
  const refused = await failedTask(t.context, 'three')
  t.regex(refused.error, /Volume "taken" is in use on host h3 \(10\.88\.0\.3\) by container taker/)
  await using agent = agentOf(h1)
  t.is((await agent.get('one')).checkpointing?.failures, 0, 'whoever shares a volume with it has its checkpoints')
  await changeSwarm(h1, ['service', 'scale', '--detach', 'three=0'])
  await until('two is idle', async () => (await inspect(h3, 'two'))?.Status?.holder === 'none')
  await Promise.all([h1.docker(['rm', '-f', 'sharer']), h3.docker(['rm', '-f', 'taker'])])
  await changeSwarm(h1, ['service', 'scale', '--detach', 'three=1'])
  await runningOn(t.context, 'three', h1)
  await leaveNothing(t, ['three'], ['one', 'taken', 'two'])
})

/** Swarm of 20.10 leaves the containers of completed jobs behind when their service is removed. */
async function removeEndedJobs(host: Host): Promise<void> {
  for (const service of ['job', 'node-job']) {
    const { stdout } = await host.docker(['ps', '-aq', '--filter', `label=com.docker.swarm.service.name=${service}`])
    for (const container of stdout.split('\n').filter((id) => id !== '')) await host.docker(['rm', container])
  }
}
