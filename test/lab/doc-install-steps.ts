import { until } from '../../lab/poll.ts'
import { CREATE, DISABLE, type DocStep, ENABLE, HOSTS, INSTALL, LIST, step } from './doc-step.ts'
import { UNREADY_HOST } from './doc-unready-host.ts'
import { agentOf, idle, inspect, shell, sleeper, whenAgentReady } from './fixture.ts'

const ALL = '10.0.0.1,10.0.0.2,10.0.0.3'

export const INSTALL_STEPS: readonly DocStep[] = [
  step(
    'one host',
    {
      withSettings: 'scripts/install WHERRY_MOUNT_DEADLINE=60s state.source=/srv/wherry',
      install: 'scripts/install',
      create: CREATE,
      list: LIST,
      hosts: HOSTS,
      status: 'wherry status',
      doctor: 'wherry doctor',
      verify: 'wherry verify data',
    },
    async ({ withSettings, install, create, list, hosts, status, doctor, verify }, ground) => {
      const { t, site, h1 } = ground
      t.regex((await site.on(h1, withSettings)).stdout, /installed and ready/)
      t.regex((await site.on(h1, status)).stdout, /^ready +yes\nregistry +replies\n/)
      // The disk of the machine may be rather full.
      t.regex((await site.on(h1, doctor, true)).stdout, /^(Nothing needs attention|\w+ +host h1: .* are free)/)
      await site.on(h1, create)
      await shell(h1, ground, 'data', 'echo kept >/data/file')
      const before = await inspect(h1, 'data')
      t.regex(String(before?.Status?.copies), /^h1: current|^h1: filling|none/)
      const listed = await site.on(h1, list)
      t.regex(listed.stdout, /^VOLUME .*\ndata /, listed.stderr)
      t.regex((await site.on(h1, hosts)).stdout, /h1 \(this\) .*alive/)
      t.regex((await site.on(h1, 'wherry inspect nothing', true)).stderr, /VOLUME_NOT_FOUND/)
      await idle(h1, 'data')
      t.regex((await site.on(h1, verify)).stdout, /copy of volume "data" on h1/)

      await sleeper(h1, ground, 'data', 'user')
      const refused = await site.on(h1, install, true)
      t.not(refused.code, 0)
      t.regex(refused.stderr, /running containers use the plugin: user \(volume data\)/)
      await h1.docker(['rm', '-f', 'user'])

      await site.on(h1, install)
      await whenAgentReady(h1, 1)
      t.is((await shell(h1, ground, 'data', 'cat /data/file')).stdout, 'kept\n')
      t.is((await inspect(h1, 'data'))?.Status?.id, before?.Status?.id)
      const { stdout } = await h1.docker(['plugin', 'inspect', 'wherry', '-f', '{{json .Settings.Env}}'])
      t.true((JSON.parse(stdout) as string[]).includes('WHERRY_MOUNT_DEADLINE=60s'))
      await using agent = agentOf(h1)
      t.deepEqual((await agent.health()).notes, [])
    },
  ),
  step(
    'a wrong setting stops the start with one line that says what to write instead',
    {},
    async (_, { t, site, h3 }) => {
      t.not((await site.on(h3, 'scripts/install WHERRY_LEASE=8', true)).code, 0)
      const lines = h3
        .engineLog()
        .split('\n')
        .filter((line) => line.includes('Wrong settings'))
      t.true(lines.length > 0)
      t.regex(lines[0] ?? '', /WHERRY_LEASE must be a time .*for example 8s; it is \\*"8\\*"/)
      await h3.docker(['plugin', 'rm', '--force', 'wherry'])
    },
  ),
  step(
    'without certificates the installation ends with what is missing, and so does every call; one grep finds the log',
    {},
    async (_, { t, site, h3 }) => {
      const logged = h3.engineLog().length
      const settings = `WHERRY_ADVERTISE=10.0.0.3 WHERRY_PEERS=${ALL}`
      const installed = await site.on(h3, `scripts/install ${settings}`, true)
      t.not(installed.code, 0)
      const why = /ca\.pem cannot be read: .* Make certificates with scripts\/certs/
      t.regex(installed.stderr, why)
      t.regex((await h3.docker(['volume', 'create', '--driver', 'wherry', 'x'], { allowFailure: true })).stderr, why)
      const lines = h3.engineLog().slice(logged).split('\n')
      const ours = lines.filter((line) => / plugin=[0-9a-f]{64}/.test(line))
      t.true(ours.length > 0)
      t.deepEqual(
        ours.filter((line) => !/msg="wherry (DEBUG|INFO|WARN|ERROR) \S+Z (plugin|agent): /.test(line)),
        [],
      )
      t.true(ours.some((line) => /wherry ERROR .*agent ended: restarting it.*ca\.pem/.test(line)))
      await h3.docker(['plugin', 'disable', '--force', 'wherry'])
      t.regex((await site.on(h3, 'wherry ls', true)).stderr, /plugin is disabled/)
      await h3.docker(['plugin', 'rm', '--force', 'wherry'])
    },
  ),
  step(
    'several hosts: certificates',
    {
      make: 'scripts/certs certs 10.0.0.1 10.0.0.2 10.0.0.3',
      directory: 'ssh 10.0.0.1 mkdir -p /var/lib/wherry/tls',
      copy: 'scp certs/10.0.0.1/ca.pem certs/10.0.0.1/cert.pem certs/10.0.0.1/key.pem 10.0.0.1:/var/lib/wherry/tls/',
    },
    async ({ make, directory, copy }, { t, site, lab }) => {
      await site.atDesk(make)
      for (const { index } of lab.hosts) {
        for (const text of [directory, copy]) await site.atDesk(text.replaceAll('10.0.0.1', `10.0.0.${index}`))
      }
      t.regex((await site.atDesk(make)).stdout, /kept/, 'it may be repeated')
    },
  ),
  UNREADY_HOST,
  step(
    'several hosts: from a checkout, and from a registry',
    {
      fromCheckout: `scripts/install WHERRY_PEERS=${ALL}`,
      build: 'scripts/build-plugin build/plugin',
      create: 'docker plugin create REGISTRY/wherry build/plugin',
      push: 'docker plugin push REGISTRY/wherry',
      state: 'mkdir -p /var/lib/wherry',
      install: INSTALL,
      enable: ENABLE,
      program: [
        `cp "$(docker info --format '{{.DockerRootDir}}')/plugins/$(docker plugin inspect wherry`,
        `--format '{{.Id}}')/rootfs/app/wherry" /usr/local/bin/wherry`,
      ].join(' '),
    },
    async ({ fromCheckout, build, create, push, state, install, enable, program }, ground) => {
      const { t, site, lab, h1, h2, h3 } = ground
      await site.on(h1, fromCheckout)
      for (const text of [build, create, push]) await site.on(h1, text)
      for (const host of [h2, h3]) {
        await site.on(host, state)
        await site.on(host, install)
        await site.on(host, enable)
        await site.on(host, program)
      }
      await Promise.all(lab.hosts.map((host) => whenAgentReady(host, 3)))
      const alive = async () => ((await site.on(h2, HOSTS, true)).stdout.match(/alive/g) ?? []).length === 3
      await until('all hosts are alive', alive)
      t.is(
        (await shell(h2, ground, 'data', 'cat /data/file')).stdout,
        'kept\n',
        'the host that was alone has its volume',
      )
    },
  ),
  step(
    'upgrade from a registry',
    {
      disable: DISABLE,
      upgrade: 'docker plugin upgrade --grant-all-permissions --skip-remote-check wherry REGISTRY/wherry',
      source: 'docker plugin set wherry state.source=/srv/wherry',
    },
    async ({ disable, upgrade, source }, { t, site, lab, h3 }) => {
      await site.on(h3, disable)
      t.regex((await site.on(h3, upgrade)).stdout, /Upgraded plugin wherry/)
      site.name('/srv/wherry', '/var/lib/wherry')
      await site.on(h3, source)
      await site.on(h3, ENABLE)
      await whenAgentReady(h3, 3)
      const { stdout } = await h3.docker(['plugin', 'inspect', 'wherry', '-f', '{{json .Settings.Env}}'])
      const peers = lab.hosts.map(({ address }) => address).join(',')
      t.true((JSON.parse(stdout) as string[]).includes(`WHERRY_PEERS=${peers}`), 'settings are kept')
    },
  ),
]
