import { existsSync, globSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import type { ExecutionContext } from 'ava'
import { showVolumes } from '../../cli/commands/ls.ts'
import type { Host } from '../../lab/host.ts'
import { until } from '../../lab/poll.ts'
import { agentOf, idle, inspect, type LabGround, onLab, shell, sleeper, treeOf, whenAgentReady } from './fixture.ts'
import { copyOf, currentOn, endPulse, longestGap, pulsesOn, startPulse } from './pulse.ts'
import { listTree } from './tree.ts'

const STATE_DISK_BYTES = 512 * 1024 * 1024
/** A host that is gone is replaced after this, and what is too many goes. */
const REPLACE_AFTER = '15s'
const test = onLab(
  { stateDisk: { type: 'ext4', sizeBytes: STATE_DISK_BYTES } },
  { WHERRY_REPLACE_AFTER: REPLACE_AFTER },
)

/** The pause budget, and what a slow machine adds. A fence lasts until its cause is gone. */
const LONGEST_PAUSE_SECONDS = 6
/** What the agent says when the kernel tells it what changes in a volume. */
const TRACKED = /kernel reports changes.*volume=three/
/** Hosts give up and take copies one after another, each at its own next scan. */
const SETTLED = { timeoutMs: 180_000 }
const MEBIBYTES = 8
/** One that is in use elsewhere, one that the lost host holds, one that is idle. */
const VOLUMES = ['used', 'held', 'idle'] as const

test.serial(
  "promise 4: a copy's full disk: the copy stays at its checkpoint, the holder goes on, other copies too, and room makes it current again",
  async (t) => {
    t.timeout(400_000)
    const { h1, lab } = t.context
    for (const [volume, copies] of [
      ['three', 3],
      ['two', 2],
    ]) {
      const options = ['-o', `copies=${copies}`, '-o', 'checkpoint=2s']
      await h1.docker(['volume', 'create', '--driver', 'wherry', ...options, String(volume)])
      await startPulse(h1, t.context, String(volume))
    }
    await until('three copies', async () => (await currentOn(h1, 'three')).length === 3, SETTLED)
    const second = await until(
      'two copies',
      async () => (await currentOn(h1, 'two')).find((name) => name !== 'h1'),
      SETTLED,
    )
    const [full, other] = split(lab.hosts, second)
    await using agent = agentOf(h1)
    await until('the managed plugin has its tracker on this ext4', () => TRACKED.test(h1.engineLog()))
    t.is((await agent.get('three')).checkpointing?.scanned, null)
    const before = { three: await agent.get('three'), two: await agent.get('two') }

    t.teardown(async () => {
      await full.exec(['rm', '-f', `${full.stateDir}/ballast`])
      for (const volume of ['three', 'two']) await endPulse(h1, volume)
    })
    await full.exec(['sh', '-c', `dd if=/dev/zero of=${full.stateDir}/ballast bs=1M 2>/dev/null; sync`], {
      allowFailure: true,
    })
    const said = await until(
      'the holder says why',
      async () => (await agent.get('three')).checkpointing?.error,
      SETTLED,
    )
    const stuck = await copyOf(h1, 'three', full)
    const seq = (await copyOf(h1, 'three', other))?.seq ?? 0
    await until('others go on', async () => ((await copyOf(h1, 'three', other))?.seq ?? 0) >= seq + 3, SETTLED)
    t.log(said)
    t.regex(said, new RegExp(`${full.name} \\(${full.address}\\).*(available|full)`), 'who and what')
    t.regex(said, /Free space/, 'what to do')
    t.regex(
      h1.engineLog(),
      new RegExp(`checkpoint not delivered to a host volume=three host='${full.name} `),
      'the log has it',
    )
    const status = (await inspect(h1, 'three'))?.Status
    t.regex(
      String(status?.copies),
      new RegExp(`${full.name}: behind \\(.*(available|full)`),
      'docker volume inspect has it',
    )
    const point = { epoch: stuck?.epoch, seq: stuck?.seq }
    t.like(await copyOf(h1, 'three', full), { state: 'behind', ...point }, 'it stays where it was')
    const { checkpoint, applying } = await onDisk(full, 'three')
    t.like(checkpoint, point, 'as committed, on its disk')
    t.false(applying, 'and whole')
    await until(
      'another host takes the place of the full one',
      async () => (await currentOn(h1, 'two')).includes(other.name) && (await copyOf(h1, 'two', full)) === undefined,
      SETTLED,
    )

    await full.exec(['rm', `${full.stateDir}/ballast`])
    await until('room brings it back', async () => (await currentOn(h1, 'three')).length === 3, SETTLED)
    await until('nothing to complain about', async () => (await agent.get('three')).checkpointing?.error === null)
    for (const [volume, { epoch }] of Object.entries(before)) {
      t.is((await agent.get(volume)).epoch, epoch, `${volume} was held without a break`)
      const gap = longestGap(await pulsesOn(h1, volume))
      t.log(`${volume}: the container stood still for ${gap.toFixed(2)} s at most`)
      t.true(gap < LONGEST_PAUSE_SECONDS, `${volume}: ${gap} s`)
      await endPulse(h1, volume)
      await idle(h1, volume)
    }
    await until('all have the end', async () => (await currentOn(h1, 'three')).length === 3, SETTLED)
    await shell(h1, t.context, 'three', 'dd if=/dev/urandom of=/data/blob bs=64k count=4 conv=notrunc')
    await idle(h1, 'three')
    const releasedMs = performance.now()
    await until('all catch up', async () => (await currentOn(h1, 'three')).length === 3)
    t.log(`the copies caught up ${Math.round(performance.now() - releasedMs)} ms after a release`)
    for (const host of [full, other]) await isSame(t, 'three', h1, host)
  },
)

test.serial(
  'promise 7: a host that is lost for good: its copies are made elsewhere, and when it comes back after all, what is too many goes, and never the newest',
  async (t) => {
    t.timeout(500_000)
    const { h1, lab } = t.context
    await create(h1, 'used')
    await startPulse(h1, t.context, 'used')
    const second = await until('two copies', async () => (await currentOn(h1, 'used')).find((name) => name !== 'h1'))
    const [lost, third] = split(lab.hosts, second)
    for (const volume of ['held', 'idle']) {
      await create(lost, volume)
      await shell(
        lost,
        t.context,
        volume,
        `echo ${volume} >/data/name; dd if=/dev/urandom of=/data/blob bs=1M count=${MEBIBYTES}`,
      )
    }
    await sleeper(lost, t.context, 'held', 'holder')
    await until(
      'two copies of each',
      async () => {
        const has = await Promise.all(['held', 'idle'].map((volume) => currentOn(h1, volume)))
        return has.every((names) => names.length === 2 && names.includes(lost.name))
      },
      SETTLED,
    )
    const ids = await Promise.all(VOLUMES.map((volume) => idOf(h1, volume)))
    const idleTree = await listTree(await treeOf(lost, 'idle'))

    await lost.powerCut()
    await until('what the lost host has counts nowhere', () => countsNot(h1, lost), SETTLED)
    const answer = await until(
      'the volume it held is used elsewhere',
      async () => {
        const tried = await shell(h1, t.context, 'held', 'cat /data/name; echo on >/data/more', true)
        return tried.code === 0 && tried.stdout
      },
      SETTLED,
    )
    t.is(answer, 'held\n')
    for (const volume of VOLUMES) {
      const wanted = [h1.name, third.name]
      await until(`${volume} is on two hosts again`, async () => hasAll(await currentOn(h1, volume), wanted), SETTLED)
    }
    await until('checkpoints go on', async () => {
      const seq = (await copyOf(h1, 'used', third))?.seq ?? 0
      return seq >= 3
    })
    const gap = longestGap(await pulsesOn(h1, 'used'))
    t.true(gap < LONGEST_PAUSE_SECONDS, `the container stood still for ${gap} s`)
    await endPulse(h1, 'used')
    await idle(h1, 'used')
    await until('both have the end', async () => (await currentOn(h1, 'used')).length === 2, SETTLED)
    for (const volume of VOLUMES) await isSame(t, volume, h1, third)
    t.deepEqual(await listTree(await treeOf(third, 'idle')), idleTree)

    await lost.boot()
    await whenAgentReady(lost, 3)
    await until(
      'what is too many is gone',
      async () => {
        const all = await Promise.all(VOLUMES.map((volume) => currentOn(h1, volume)))
        for (const names of all) t.true(names.length >= 2, 'never fewer than are wanted')
        const have = await Promise.all(VOLUMES.map((volume) => copiesOf(h1, volume)))
        return have.every((names) => names.length === 2)
      },
      SETTLED,
    )
    for (const [nth, volume] of VOLUMES.entries()) {
      const names = await copiesOf(h1, volume)
      // What the lost host has of the other two is behind, and stays so. Of three that are all at the newest checkpoint
      // any may go.
      if (volume !== 'idle') t.true(sameNames(names, [h1.name, third.name]), `${volume} is on ${names}`)
      const [gone] = lab.hosts.filter(({ name }) => !names.includes(name))
      const [one, other] = lab.hosts.filter(({ name }) => names.includes(name))
      if (gone === undefined || one === undefined || other === undefined) throw new Error(`${volume} is on ${names}`)
      const id = String(ids[nth])
      await until('its tree is put away', () => !existsSync(`${gone.stateSeen}/volumes/${id}`))
      t.is(globSync(`${gone.stateSeen}/trash/*${id}*`).length, 1, `${volume} is in the trash`)
      await isSame(t, volume, one, other)
    }
  },
)

/** Whether the copy of `used` on the lost host is none to anybody: not in `ls`, not to monitors, and not in the age. */
async function countsNot(host: Host, lost: Host): Promise<boolean> {
  await using agent = agentOf(host)
  const { elsewhere, copies } = await agent.get('used')
  const samples = (await agent.metrics()).split('\n')
  const sampleOf = (name: string, state = '') => {
    const wanted = (line: string) => line.startsWith(`${name}{`) && line.includes('"used"') && line.includes(state)
    const value = samples.find(wanted)?.split(' ').at(-1)
    return value === '+Inf' ? Number.POSITIVE_INFINITY : Number(value)
  }
  return (
    elsewhere === null &&
    copies.find((copy) => copy.host === lost.name)?.awaySince !== null &&
    showVolumes([await agent.get('used')], new Date()).includes(`${lost.name} (away)`) &&
    sampleOf('wherry_checkpoint_age_seconds') === Number.POSITIVE_INFINITY &&
    sampleOf('wherry_copies', 'state="away"') === 1 &&
    sampleOf('wherry_copies', 'state="current"') < sampleOf('wherry_copies_wanted')
  )
}

async function create(host: Host, volume: string): Promise<void> {
  await host.docker(['volume', 'create', '--driver', 'wherry', '-o', 'checkpoint=2s', volume])
}

/** The host with that name, and the one that is neither it nor the first. */
function split(hosts: readonly Host[], name: string): [Host, Host] {
  const named = hosts.find((host) => host.name === name)
  const other = hosts.find((host) => host.index !== 1 && host.name !== name)
  if (named === undefined || other === undefined) throw new Error(`there is no host ${name}`)
  return [named, other]
}

function hasAll(names: readonly string[], wanted: readonly string[]): boolean {
  return wanted.every((name) => names.includes(name))
}

function sameNames(names: readonly string[], wanted: readonly string[]): boolean {
  return names.toSorted().join() === wanted.toSorted().join()
}

async function copiesOf(host: Host, volume: string): Promise<string[]> {
  await using agent = agentOf(host)
  return (await agent.get(volume)).copies.map((copy) => copy.host)
}

async function idOf(host: Host, volume: string): Promise<string> {
  await using agent = agentOf(host)
  return (await agent.get(volume)).id
}

/** What a host's disk says of its copy. */
async function onDisk(host: Host, volume: string): Promise<{ applying: boolean; checkpoint: unknown }> {
  return JSON.parse(await readFile(`${host.stateSeen}/volumes/${await idOf(host, volume)}/volume.json`, 'utf8'))
}

/** Both copies of an idle volume are whole, byte by byte, and the same. */
async function isSame(t: ExecutionContext<LabGround>, volume: string, one: Host, other: Host): Promise<void> {
  for (const host of [one, other]) {
    await using agent = agentOf(host)
    t.deepEqual((await agent.verify(volume)).damaged, [], `${volume} on ${host.name}`)
  }
  t.deepEqual(await listTree(await treeOf(other, volume)), await listTree(await treeOf(one, volume)), volume)
}
