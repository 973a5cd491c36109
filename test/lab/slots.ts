import type { ExecutionContext } from 'ava'
import { until } from '../../lab/poll.ts'
import { changeSwarm } from '../../lab/swarm.ts'
import { agentOf, type LabGround } from './fixture.ts'
import { createService, fileOf, mountOf, running, tasksOf, updateService } from './services.ts'

/**
 * Scales a service with a volume for each slot down and up, and replaces all its tasks. Asserts that each slot found
 * its data, and that the volumes of removed slots were kept.
 */
export async function scaleSlots(t: ExecutionContext<LabGround>): Promise<void> {
  const { h1, h2, lab } = t.context
  const script =
    'echo "$SLOT $(cat /data/slot 2>/dev/null || echo new)" >>/data/log; echo $SLOT >/data/slot; sleep 3600'
  const args = ['--replicas', '3', '--replicas-max-per-node', '1', '--env', 'SLOT={{.Task.Slot}}']
  const wish = { mounts: [mountOf('slot-{{.Task.Slot}}')], args, script: `trap 'exit 0' TERM; ${script} & wait` }
  await createService(t.context, { name: 'slots', ...wish })
  await running(t.context, 'slots', 3)
  await changeSwarm(h1, ['service', 'scale', '--detach', 'slots=1'])
  const [left] = await running(t.context, 'slots', 1)
  const gone = [1, 2, 3].filter((slot) => left?.name !== `slots.${slot}`)
  await using agent = agentOf(h2)
  for (const slot of gone) {
    await until(`slot ${slot} is idle`, async () => {
      const { holder, last } = await agent.get(`slot-${slot}`)
      return holder === null && last !== null
    })
    const remove = ['volume', 'rm', `slot-${slot}`]
    const refused = await Promise.all(lab.hosts.map((host) => host.docker(remove, { allowFailure: true })))
    t.false(refused.some(({ code }) => code === 0))
    t.true(refused.some(({ stderr }) => /by service slots\./.test(stderr)))
  }
  await changeSwarm(h1, ['service', 'scale', '--detach', 'slots=3'])
  await running(t.context, 'slots', 3)
  await updateService(t.context, 'slots', '--force', '--update-parallelism', '3')
  await until('all tasks are new', async () => {
    const ended = (await tasksOf(h1, 'slots')).filter(({ desired }) => desired === 'Shutdown')
    return new Set(ended.map(({ name }) => name)).size === 3
  })
  for (const { name, node } of await running(t.context, 'slots', 3)) {
    const slot = name.replace('slots.', '')
    const host = lab.hosts.find((one) => one.name === node) ?? h1
    const times = gone.includes(Number(slot)) ? 3 : 2
    const log = await until(`slot ${slot} wrote`, async () => {
      const found = (await fileOf(host, `slot-${slot}`, 'log')).trimEnd().split('\n')
      return found.length === times && found
    })
    t.deepEqual(log, [`${slot} new`, ...Array.from({ length: times - 1 }, () => `${slot} ${slot}`)])
  }
  const isHinted = /pre-seeding its volume volume=slot-\d/
  t.true(
    lab.hosts.some((host) => isHinted.test(host.engineLog())),
    'hosts are told before the task starts',
  )
}
