import type { ExecutionContext } from 'ava'
import type { Host } from '../../lab/host.ts'
import { agentOf, idle, inspect, type LabGround, shell, sleeper } from './fixture.ts'

type Test = ExecutionContext<LabGround>

/** What Docker's own tests ask of every volume driver, in so far as another test does not ask it of Wherry. */
export async function keepsContract(t: Test): Promise<void> {
  const { h1 } = t.context
  await namesConflict(t, h1)
  await unnamedVolumesGo(t, h1)
  await volumesFrom(t, h1)
  await copiesIntoStopped(t, h1)
  await createdAgain(t, h1)
}

/** A name belongs to one driver, whichever came first. */
async function namesConflict(t: Test, host: Host): Promise<void> {
  for (const [first, second] of [
    ['local', 'wherry'],
    ['wherry', 'local'],
  ] as const) {
    const name = `first-${first}`
    await host.docker(['volume', 'create', '--driver', first, name])
    const again = await host.docker(['volume', 'create', '--driver', second, name], { allowFailure: true })
    t.not(again.code, 0, name)
    t.regex(again.stderr, /already exists|must be unique|conflict/, name)
    await host.docker(['volume', 'rm', name])
    t.is(await inspect(host, name), null, name)
  }
  const unknown = await host.docker(['volume', 'inspect', 'never-made'], { allowFailure: true })
  // Managers of a Swarm look for a cluster volume too, and have other words.
  t.regex(unknown.stderr, /no such volume|not found/i)
}

/** A volume without a name goes with its container; one with a name stays. */
async function unnamedVolumesGo(t: Test, host: Host): Promise<void> {
  const listed = async () => {
    const { stdout } = await host.docker(['volume', 'ls', '--quiet', '--filter', 'driver=wherry:latest'])
    return stdout.split('\n').filter((name) => name !== '')
  }
  // Other tests of the lab have left theirs.
  const before = await listed()
  const names = async () => (await listed()).filter((name) => !before.includes(name))
  const mounts = ['--volume-driver', 'wherry', '-v', 'named:/named', '-v', '/unnamed']
  const write = ['sh', '-c', 'echo kept >/named/file; echo gone >/unnamed/file']
  await host.docker(['run', '--rm', ...mounts, t.context.image, ...write])
  t.deepEqual(await names(), ['named'])
  await host.docker(['create', '--name', 'unnamed', ...mounts, t.context.image, ...write])
  t.is((await names()).length, 2)
  await host.docker(['start', '--attach', 'unnamed'])
  await host.docker(['rm', '-v', 'unnamed'])
  t.deepEqual(await names(), ['named'])
  t.is((await shell(host, t.context, 'named', 'cat /data/file')).stdout, 'kept\n')
}

async function volumesFrom(t: Test, host: Host): Promise<void> {
  await sleeper(host, t.context, 'named', 'first')
  const { stdout } = await host.docker(['run', '--rm', '--volumes-from', 'first', t.context.image, 'cat', '/data/file'])
  t.is(stdout, 'kept\n')
  await host.docker(['exec', 'first', 'sh', '-c', 'echo changed >/data/file'])
  await host.docker(['rm', '-f', '-v', 'first'])
  await idle(host, 'named')
}

/** `docker cp` mounts for itself. It leaves no use, be the container running or not. */
async function copiesIntoStopped(t: Test, host: Host): Promise<void> {
  await host.docker(['create', '--name', 'stopped', '-v', 'named:/data', t.context.image, 'cat', '/data/hosts'])
  await host.docker(['cp', '/etc/hostname', 'stopped:/data/hosts'])
  await host.docker(['cp', 'stopped:/data/hosts', '-'])
  await idle(host, 'named')
  t.not((await host.docker(['start', '--attach', 'stopped'])).stdout, '')
  await host.docker(['rm', 'stopped'])
  await sleeper(host, t.context, 'named', 'running')
  await host.docker(['cp', '/etc/hostname', 'running:/data/more'])
  await using agent = agentOf(host)
  t.deepEqual((await agent.get('named')).holder?.containers, ['running'])
  await host.docker(['rm', '-f', 'running'])
  await idle(host, 'named')
}

/** The volume was removed elsewhere, which this engine never heard of. */
async function createdAgain(t: Test, host: Host): Promise<void> {
  const other = t.context.h2
  const before = (await inspect(host, 'named'))?.Status?.id
  await other.docker(['volume', 'rm', 'named'])
  await host.docker(['volume', 'create', '--driver', 'wherry', 'named'])
  const after = (await inspect(host, 'named'))?.Status?.id
  t.is(typeof after, 'string')
  t.not(after, before)
  t.is((await shell(host, t.context, 'named', 'ls -A /data; echo new >/data/file; cat /data/file')).stdout, 'new\n')
  await idle(host, 'named')
  await host.docker(['volume', 'rm', 'named'])
}
