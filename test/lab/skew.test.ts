import { readFileSync } from 'node:fs'
import type { Host } from '../../lab/host.ts'
import { until } from '../../lab/poll.ts'
import manifest from '../../package.json' with { type: 'json' }
import { agentOf, idle, onLab, shell, treeOf, whenAgentReady } from './fixture.ts'
import { publishNewer } from './newer-plugin.ts'
import { currentOn, startPulse } from './pulse.ts'

const test = onLab({}, {})

/** What hosts that do not understand each other say. */
const COMPLAINTS = /cannot be understood|broke the transfer protocol|VERSION_SKEW|an older version of Wherry/

/** Changes the version of a host's plugin as docs/install.md says, in either direction. */
async function change(host: Host, reference: string, hosts: number): Promise<void> {
  await host.docker(['plugin', 'disable', '--force', 'wherry'])
  await host.docker(['plugin', 'upgrade', '--grant-all-permissions', '--skip-remote-check', 'wherry', reference])
  // Docker keeps the other settings, and takes the sources of mounts from the new plugin (docs/install.md).
  const sources = [`state.source=${host.stateDir}`, `docker.source=${host.socket}`]
  await host.docker(['plugin', 'set', 'wherry', ...sources])
  await host.docker(['plugin', 'enable', '--timeout', '0', 'wherry'])
  await whenAgentReady(host, hosts)
}

/** Resolves when a host sees all hosts alive with these versions, in the order of their names. */
async function versionsAre(host: Host, expected: readonly string[]): Promise<void> {
  await until(`${host.name} sees the versions ${expected.join(' ')}`, async () => {
    await using agent = agentOf(host)
    const hosts = await agent.hosts()
    const seen = hosts.toSorted((a, b) => a.name.localeCompare(b.name))
    return seen.every(({ alive, version }, nth) => alive && version === expected[nth])
  })
}

test.serial(
  'promise 3: a version and the next one share a cluster: volumes move both ways, each takes over from the other, and the way back loses nothing',
  async (t) => {
    t.timeout(400_000)
    const { lab, h1, h2, h3 } = t.context
    const newer = await publishNewer(lab)
    const own = manifest.version
    const use = async (host: Host, text: string) => {
      const { stdout } = await shell(host, t.context, 'data', `cat /data/file; echo ${text} >>/data/file`)
      return stdout
    }
    await h1.docker(['volume', 'create', '--driver', 'wherry', '-o', 'copies=3', '-o', 'checkpoint=2s', 'data'])
    await shell(h1, t.context, 'data', 'echo older >/data/file')
    await change(h2, newer.reference, 3)
    await versionsAre(h1, [own, newer.version, own])

    t.is(await use(h2, 'newer'), 'older\n')
    t.is(await use(h1, 'again'), 'older\nnewer\n')
    await idle(h1, 'data')

    // The newer one holds it: older ones get its checkpoints, and take over from it.
    await startPulse(h2, t.context, 'data')
    await until('checkpoints of the newer version on all hosts', async () => (await currentOn(h1, 'data')).length === 3)
    await h2.powerCut()
    t.is(await use(h3, 'taken over'), 'older\nnewer\nagain\n')
    await h2.start()
    await whenAgentReady(h2, 3)

    // The same the other way round. By then the host that was away has its copy again.
    await until('a copy on the newer version', async () => (await currentOn(h1, 'data')).includes('h2'))
    await startPulse(h3, t.context, 'data')
    await until('checkpoints of the older version', async () => (await currentOn(h1, 'data')).includes('h2'))
    await h3.powerCut()
    t.is(await use(h2, 'and back'), 'older\nnewer\nagain\ntaken over\n')
    await idle(h2, 'data')
    await h3.start()
    await whenAgentReady(h3, 3)

    await change(h3, newer.reference, 3)
    await change(h2, `${lab.registry}/wherry:lab`, 3)
    await versionsAre(h1, [own, own, newer.version])
    const lines = 'older\nnewer\nagain\ntaken over\nand back\n'
    t.is(await use(h2, 'rolled back'), lines)
    t.is(await use(h1, 'older still'), `${lines}rolled back\n`)
    t.is(await use(h3, 'newest'), `${lines}rolled back\nolder still\n`)

    await using agent = agentOf(h1)
    t.like((await agent.get('data')).options, { fromNewer: 1 }, 'the record keeps what the newer version put there')
    const record = (await treeOf(h2, 'data')).replace(/data$/, 'volume.json')
    t.like(JSON.parse(readFileSync(record, 'utf8')), { fromNewer: 1, options: { fromNewer: 1 } })
    for (const host of lab.hosts) t.notRegex(host.engineLog(), COMPLAINTS, host.name)
  },
)
