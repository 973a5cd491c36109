import { globSync, readFileSync } from 'node:fs'
import { basename } from 'node:path'
import type { Host } from '../../lab/host.ts'
import { until } from '../../lab/poll.ts'
import { DISABLE, type DocStep, ENABLE, HOSTS, step } from './doc-step.ts'
import { agentOf, idle, whenAgentReady } from './fixture.ts'
import { holderOf } from './witness.ts'

const MOUNT = 'type=volume,source=data,destination=/var/lib/postgresql/data,volume-driver=wherry'
const PASSWORD = '--env POSTGRES_PASSWORD=secret'

export const OPERATIONS_STEPS: readonly DocStep[] = [
  step(
    'a container and a service',
    {
      container: `docker run --detach --name db ${PASSWORD} --mount ${MOUNT} postgres:17`,
      service: `docker service create --name db ${PASSWORD} --mount ${MOUNT} postgres:17`,
      inspect: 'wherry inspect data',
      moves: 'wherry moves',
    },
    async ({ container, service, inspect, moves }, { t, site, lab, h1 }) => {
      await site.on(h1, container)
      t.regex((await site.on(h1, inspect)).stdout, /containers +db\n/)
      await h1.docker(['rm', '--force', 'db'])
      await idle(h1, 'data')
      await site.on(h1, service)
      const holder = await until('the service has the volume', () => holderOf(lab, 'data'))
      t.regex((await site.on(holder, moves)).stdout, /^No copy|^VOLUME .*FROM/)
    },
  ),
  step(
    'a short break: the service leaves a host and may return',
    {
      leave: 'docker service update --constraint-add node.hostname!=node3 db',
      allow: 'docker service update --constraint-rm node.hostname!=node3 db',
      heartbeat: 'docker swarm update --dispatcher-heartbeat 2s',
      delay: 'docker service update --restart-delay 0s db',
    },
    async ({ leave, allow, heartbeat, delay }, { t, site, lab, h1, h3 }) => {
      for (const text of [heartbeat, delay, leave]) await site.on(h1, text)
      const holder = await until('the service has the volume', () => holderOf(lab, 'data'))
      t.not(holder, h3)
      t.regex((await site.on(h3, HOSTS)).stdout, /h3 \(this\) .* 0$/m)
      await site.on(h1, allow)
    },
  ),
  step(
    'an evacuation: the copies leave as well',
    {
      drainNode: 'docker node update --availability drain node3',
      drain: 'wherry drain',
      look: 'wherry drain --no-wait',
      end: 'wherry drain --off',
      activate: 'docker node update --availability active node3',
    },
    async ({ drainNode, drain, look, end, activate }, { t, site, h1, h3 }) => {
      await site.on(h1, drainNode)
      t.regex((await site.on(h3, drain)).stdout, /no copies left/)
      t.regex((await site.on(h3, look)).stdout, /no copies left/)
      await site.on(h3, end)
      await site.on(h1, activate)
      await using agent = agentOf(h3)
      await until('nothing is drained', async () => (await agent.hosts()).every(({ draining }) => !draining))
    },
  ),
  step(
    'change a setting',
    { set: 'docker plugin set wherry WHERRY_BANDWIDTH=100MB/s' },
    async ({ set }, { t, site, h3 }) => {
      for (const text of [DISABLE, set, ENABLE]) await site.on(h3, text)
      await whenAgentReady(h3, 3)
      const { stdout } = await h3.docker(['plugin', 'inspect', 'wherry', '-f', '{{json .Settings.Env}}'])
      t.true((JSON.parse(stdout) as string[]).includes('WHERRY_BANDWIDTH=100MB/s'))
    },
  ),
  step(
    'read the metrics',
    {
      print: 'wherry metrics',
      write: 'wherry metrics >/var/lib/node_exporter/wherry.new',
      move: 'mv /var/lib/node_exporter/wherry.new /var/lib/node_exporter/wherry.prom',
    },
    async ({ print, write, move }, { t, site, h2 }) => {
      for (const text of [write, move]) await site.on(h2, text)
      for (const shown of [readFileSync(`${site.checkout}/wherry.prom`, 'utf8'), (await site.on(h2, print)).stdout])
        t.regex(shown, /^wherry_copies_wanted\{.*volume="data"/m)
    },
  ),
  step(
    'remove a volume, and free the space that it takes in the trash',
    {
      remove: 'docker volume rm data',
      state: 'du -sh /var/lib/wherry/*',
      trash: 'du -sh /var/lib/wherry/trash/*',
      free: 'rm -rf /var/lib/wherry/trash/ID-TIME',
    },
    async ({ remove, state, trash, free }, { t, site, lab, h1 }) => {
      await h1.docker(['service', 'rm', 'db'])
      await idle(h1, 'data')
      // The engine counts the containers of old tasks until Swarm has removed them.
      const users = ['ps', '--all', '--quiet', '--filter', 'volume=data']
      await until('the engine has no container of the service', async () => (await h1.docker(users)).stdout === '')
      await site.on(h1, remove)
      const host = await until('a copy is in the trash', () => lab.hosts.find((one) => trashOf(one).length > 0))
      t.regex((await site.on(host, state)).stdout, /\/var\/lib\/wherry\/trash$/m)
      const [removed = ''] = trashOf(host)
      t.regex((await site.on(host, trash)).stdout, new RegExp(`/${removed}$`, 'm'))
      site.name('ID-TIME', removed)
      await site.on(host, free)
      t.false(trashOf(host).includes(removed))
    },
  ),
]

/** Names of what is in a host's trash. */
function trashOf(host: Host): string[] {
  return globSync(`${host.stateSeen}/trash/*-*`).map((path) => basename(path))
}
