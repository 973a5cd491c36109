import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, globSync, readdirSync, readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { busybox } from '../../lab/images.ts'
import { Lab } from '../../lab/lab.ts'
import { until } from '../../lab/poll.ts'
import { readRecord } from '../../lab/record.ts'

const OWNER = fileURLToPath(new URL('../../lab/owner.ts', import.meta.url))

/** Whatever a lab of this directory has left on the machine, one line each. */
function leftovers(directory: string): string[] {
  const name = directory.slice(directory.lastIndexOf('/') + 1)
  return [
    ...(existsSync(directory) ? [`directory ${directory}`] : []),
    // The names are the same for every lab: another one may be up by now.
    ...(readRecord() === null ? globSync('/run/netns/wherry-*').map((path) => `namespace ${path}`) : []),
    ...(readFileSync('/proc/self/mountinfo', 'utf8').includes(name) ? ['mounts'] : []),
    ...globSync(`/sys/fs/cgroup/**/${name}`).map((path) => `control group ${path}`),
    ...readdirSync('/proc')
      .filter((pid) => mentions(pid, name))
      .map((pid) => `process ${pid}`),
  ]
}

function mentions(pid: string, name: string): boolean {
  try {
    return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(name)
  } catch {
    return false
  }
}

test.serial('three hosts of a Swarm run a container and a service, and leave nothing behind', async (t) => {
  const lab = await Lab.start({ swarm: true, log: t.log })
  try {
    const image = await lab.image(busybox)
    const { stdout } = await lab.host(2).docker(['run', '--rm', image, 'echo', 'it runs'])
    t.is(stdout, 'it runs\n')

    const service = ['service', 'create', '--quiet', '--network', 'host', '--mode', 'global', '--name', 'sleeper']
    await lab.host(1).docker([...service, image, 'sleep', '3600'])
    for (const host of lab.hosts) t.is(host.processes(/^sleep 3600$/).length, 1, host.name)
  } finally {
    await lab.stop()
  }
  t.deepEqual(leftovers(lab.directory), [])
})

test.serial(
  'a host comes back after a power cut with its disk, an engine after kill -9 with its containers',
  async (t) => {
    const lab = await Lab.start({ hosts: 1, liveRestore: true, log: t.log })
    try {
      const [host, image] = [lab.host(1), await lab.image(busybox)]
      const running = async () => (await host.docker(['ps', '--quiet'])).stdout.trim()
      await host.docker(['run', '--detach', '--name', 'one', image, 'sleep', '3600'])
      const container = await running()

      const before = host.processes(/^sleep 3600$/)
      await host.killEngine()
      await host.startEngine()
      t.is(await running(), container)
      t.deepEqual(host.processes(/^sleep 3600$/), before)

      await host.powerCut()
      t.deepEqual(host.processes(/./), [])
      await host.boot()
      t.is(await running(), '')
      await host.docker(['start', 'one'])
      t.is(await running(), container)
    } finally {
      await lab.stop()
    }
  },
)

test.serial('a cut link parts hosts, a slow link slows them down', async (t) => {
  const lab = await Lab.start({ hosts: 2, log: t.log })
  try {
    const ping = async () => {
      const { code } = await lab.host(1).exec(['/usr/bin/busybox', 'ping', '-c', '1', '-W', '1', lab.host(2).address], {
        allowFailure: true,
      })
      return code === 0
    }
    await until('a ping', ping)
    await lab.link(lab.host(2), 'down')
    t.false(await ping())
    await lab.link(lab.host(2), 'up')
    await until('a ping', ping)

    await lab.rate(lab.host(2), 8_000_000)
    const shown = await lab.exec(['tc', 'qdisc', 'show', 'dev', 'p2'])
    t.regex(shown.stdout, /tbf .* rate 8Mbit/)
    await lab.rate(lab.host(2), null)
  } finally {
    await lab.stop()
  }
})

test.serial('the lab is taken down when its owner is killed, and only then may the next one start', async (t) => {
  const owner = spawn(process.execPath, [OWNER], { stdio: ['ignore', 'pipe', 'inherit'] })
  const lines = createInterface(owner.stdout)
  const [directory] = await Promise.race([once(lines, 'line'), once(lines, 'close').then(() => [''])])
  t.true(existsSync(directory))

  const next = Lab.start({ hosts: 1, log: t.log })
  owner.kill('SIGKILL')
  const lab = await next
  try {
    t.deepEqual(leftovers(directory), [])
  } finally {
    await lab.stop()
  }
})
