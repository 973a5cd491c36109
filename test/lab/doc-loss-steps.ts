import { existsSync, readdirSync } from 'node:fs'
import type { CommandResult } from '../../lab/command.ts'
import type { Host } from '../../lab/host.ts'
import { until } from '../../lab/poll.ts'
import type { DocSite } from './doc-site.ts'
import { CREATE, DISABLE, type DocStep, ENABLE, HOSTS, INSTALL, LIST, step } from './doc-step.ts'
import { idle, inspect, shell, sleeper, whenAgentReady } from './fixture.ts'
import { copiedElsewhere } from './witness.ts'

export const LOSS_STEPS: readonly DocStep[] = [
  step(
    'remove a host, and uninstall there',
    {
      demote: 'docker node demote node3',
      forget: 'docker node rm --force node3',
      leave: 'docker swarm leave --force',
      uninstall: 'docker plugin rm --force wherry',
      program: 'rm /usr/local/bin/wherry',
      data: 'rm -rf /var/lib/wherry/*',
    },
    async ({ demote, forget, leave, uninstall, program, data }, ground) => {
      const { t, site, h1, h3 } = ground
      await site.on(h1, CREATE)
      await shell(h1, ground, 'data', 'echo kept >/data/file')
      await idle(h1, 'data')
      for (const text of [demote, forget]) await site.on(h1, text)
      for (const text of [leave, DISABLE, uninstall, program, data]) await site.on(h3, text)
      t.deepEqual(readdirSync(h3.stateSeen), [])
    },
  ),
  step(
    'rebuild the registry with the hosts that are left',
    {
      away: 'mv /var/lib/wherry/nats /var/lib/wherry/nats.old',
      peers: 'docker plugin set wherry WHERRY_PEERS=10.0.0.1,10.0.0.2',
      recover: 'wherry recover',
      old: 'rm -r /var/lib/wherry/nats.old',
    },
    async ({ away, peers, recover, old }, ground) => {
      const { t, site, h1, h2 } = ground
      for (const host of [h1, h2]) for (const text of [DISABLE, away, peers]) await site.on(host, text)
      await onEach(site, [h1, h2], [ENABLE])
      await Promise.all([h1, h2].map((host) => whenAgentReady(host, 2)))
      t.is((await site.on(h1, recover)).stdout, 'Records written: data.\n')
      t.regex((await site.on(h1, LIST)).stdout, /^data /m)
      await onEach(site, [h1, h2], [old])
      t.is((await shell(h2, ground, 'data', 'cat /data/file')).stdout, 'kept\n')
      await idle(h1, 'data')
    },
  ),
  step(
    'add a host',
    {
      certificate: 'scripts/certs certs 10.0.0.3',
      peers: 'docker plugin set wherry WHERRY_PEERS=10.0.0.1,10.0.0.2,10.0.0.3',
    },
    async ({ certificate, peers }, ground) => {
      const { t, site, lab, h1, h2, h3 } = ground
      await site.atDesk(certificate)
      await site.atDesk('ssh 10.0.0.3 mkdir -p /var/lib/wherry/tls')
      const files = 'certs/10.0.0.3/ca.pem certs/10.0.0.3/cert.pem certs/10.0.0.3/key.pem'
      await site.atDesk(`scp ${files} 10.0.0.3:/var/lib/wherry/tls/`)
      for (const host of [h1, h2]) for (const text of [DISABLE, peers, ENABLE]) await site.on(host, text)
      for (const text of [INSTALL, ENABLE]) await site.on(h3, text)
      await Promise.all(lab.hosts.map((host) => whenAgentReady(host, 3)))
      t.is((await shell(h3, ground, 'data', 'cat /data/file')).stdout, 'kept\n')
      await idle(h1, 'data')
    },
  ),
  step(
    'a host is lost with a volume, which goes on without it and is given up in the end',
    {
      promote: 'wherry promote data',
      acceptLoss: 'wherry promote data --accept-loss',
      remove: 'wherry rm data --accept-loss',
      force: 'wherry rm data --force',
    },
    async ({ promote, acceptLoss, remove, force }, ground) => {
      const { t, site, h1, h3 } = ground
      await sleeper(h3, ground, 'data', 'user')
      await copiedElsewhere(h3, 'data')
      await h3.powerCut()
      await until('the host is away', async () => {
        const { stdout } = await site.on(h1, HOSTS)
        if (!stdout.includes('away since')) throw new Error(stdout)
        return true
      })
      const said = await until('it may be taken over', () => unlessUnavailable(site.on(h1, promote, true)))
      t.is(said.code, 0, said.stderr)
      t.regex((await site.on(h1, 'wherry inspect data')).stdout, /taken over/)
      t.is((await site.on(h1, acceptLoss)).code, 0)
      t.is((await shell(h1, ground, 'data', 'cat /data/file')).stdout, 'kept\n')
      await idle(h1, 'data')
      t.is((await site.on(h1, remove)).code, 0)
      await site.on(h1, CREATE)
      await sleeper(h1, ground, 'data', 'user')
      t.regex((await site.on(h1, force)).stdout, /container user \(running\)/)
      t.is(await inspect(h1, 'data'), null)
      t.true(existsSync(`${h1.stateSeen}/trash`))
    },
  ),
]

/** Runs commands on several hosts at once, on each one after the other. */
async function onEach(site: DocSite, hosts: readonly Host[], texts: readonly string[]): Promise<void> {
  await Promise.all(
    hosts.map(async (host) => {
      for (const text of texts) await site.on(host, text)
    }),
  )
}

/** False while the registry has no leader: the documents say to repeat the command then. */
async function unlessUnavailable(running: Promise<CommandResult>): Promise<CommandResult | false> {
  const said = await running
  return /REGISTRY_UNAVAILABLE|AGENT_UNAVAILABLE/.test(said.stderr) ? false : said
}
