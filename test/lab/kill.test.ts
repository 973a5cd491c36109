import type { Host } from '../../lab/host.ts'
import { until } from '../../lab/poll.ts'
import { idle, inspect, type LabGround, onLab, shell, whenAgentReady } from './fixture.ts'
import { VICTIMS } from './killer.ts'

const test = onLab({ liveRestore: true }, { WHERRY_MOUNT_DEADLINE: '20s' })

for (const [name, pattern] of Object.entries(VICTIMS)) {
  test.serial(
    `promise 11: kill -9 of the ${name} leaves the container alone; unmount, move and rm work after it`,
    async (t) => {
      const { h1 } = t.context
      const volume = `kill-${name}`
      await startWriter(h1, t.context, volume)
      const found = h1.processes(pattern)
      t.is(found.length, 1, JSON.stringify(found))
      for (const { pid } of found) h1.kill(pid)
      await until(`the ${name} runs again`, () => {
        const now = h1.processes(pattern)
        return now.length === 1 && now[0]?.pid !== found[0]?.pid
      })
      await whenAgentReady(h1, 3)
      await writerUnharmed(h1, volume)
      await moveAndRemove(t.context, volume)
      t.is(await inspect(h1, volume), null)
    },
  )
}

test.serial(
  'promise 11: kill -9 of the engine leaves the container alone; unmount, move and rm work after it',
  async (t) => {
    const { h1 } = t.context
    await startWriter(h1, t.context, 'kill-engine')
    await h1.killEngine()
    await h1.startEngine()
    await whenAgentReady(h1, 3)
    await writerUnharmed(h1, 'kill-engine')
    await moveAndRemove(t.context, 'kill-engine')
    t.is(await inspect(h1, 'kill-engine'), null)
  },
)

test.serial(
  'promise 11: after a power cut of the holder its volume is there again with all that was synced',
  async (t) => {
    const { h1, h2 } = t.context
    await startWriter(h1, t.context, 'power')
    await h1.docker(['exec', 'writer-of-power', 'sh', '-c', 'echo synced | dd of=/data/proof conv=fsync 2>/dev/null'])
    await h1.powerCut()
    await h1.boot()
    await whenAgentReady(h1, 3)
    await idle(h2, 'power')
    const { stdout } = await shell(h2, t.context, 'power', 'cat /data/proof; wc -l </data/log')
    t.regex(stdout, /^synced\n\d+\n$/)
    await h1.docker(['rm', '-f', 'writer-of-power'])
  },
)

/** A container that appends a line ten times a second and never forgives an error. */
async function startWriter(host: Host, ground: LabGround, volume: string): Promise<void> {
  await host.docker(['volume', 'create', '--driver', 'wherry', volume])
  const mount = ['-v', `${volume}:/data`]
  const script = 'set -e; n=0; while :; do n=$((n+1)); echo $n >>/data/log; sleep 0.1; done'
  await host.docker([
    'run',
    '-d',
    '--init',
    '--name',
    `writer-of-${volume}`,
    ...mount,
    ground.image,
    'sh',
    '-c',
    script,
  ])
  await lines(host, volume, 3)
}

async function lines(host: Host, volume: string, atLeast: number): Promise<number> {
  return until(`${volume} has ${atLeast} lines`, async () => {
    const { stdout } = await host.docker(['exec', `writer-of-${volume}`, 'wc', '-l', '/data/log'])
    const count = Number.parseInt(stdout, 10)
    return count >= atLeast && count
  })
}

/** Still the same run of the container, and it still writes. */
async function writerUnharmed(host: Host, volume: string): Promise<void> {
  const { stdout } = await host.docker(['inspect', '-f', '{{.State.Status}} {{.RestartCount}}', `writer-of-${volume}`])
  if (stdout.trim() !== 'running 0') throw new Error(`the writer of ${volume} was harmed: ${stdout}`)
  const before = await lines(host, volume, 1)
  await lines(host, volume, before + 3)
}

async function moveAndRemove(ground: LabGround, volume: string): Promise<void> {
  const { h1, h2 } = ground
  const { stdout: last } = await h1.docker(['exec', `writer-of-${volume}`, 'tail', '-n', '1', '/data/log'])
  await h1.docker(['rm', '-f', `writer-of-${volume}`])
  const { stdout } = await shell(h2, ground, volume, 'tail -n 1 /data/log; wc -l </data/log')
  const [lastLine, count] = stdout.trim().split('\n').map(Number)
  if (lastLine === undefined || lastLine !== count || lastLine < Number(last)) {
    throw new Error(`${volume} lost lines on its move: last seen ${last}, moved ${stdout}`)
  }
  await idle(h2, volume)
  await h2.docker(['volume', 'rm', volume])
}
