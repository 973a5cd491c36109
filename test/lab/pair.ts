import type { ExecutionContext } from 'ava'
import { changeSwarm } from '../../lab/swarm.ts'
import type { LabGround } from './fixture.ts'
import { createService, fileOf, mountOf, runningOn, updateService, wordsInOrder, writing } from './services.ts'

/** Two services that share the volume `pair`. */
export const PAIR = ['pair-a', 'pair-b']

/**
 * Drains the node of both while it is demoted as the Swarm's leader; asserts that they move together, and again under
 * the next leader.
 */
export async function movePair(t: ExecutionContext<LabGround>): Promise<void> {
  const { h1, h2, h3 } = t.context
  await changeSwarm(h1, ['node', 'update', '--availability', 'pause', h2.name])
  for (const name of PAIR) {
    const script = writing(name, `/data/${name}`)
    await createService(t.context, {
      name,
      mounts: [mountOf('pair')],
      args: ['--constraint', 'node.hostname!=h3'],
      script,
    })
  }
  for (const name of PAIR) await runningOn(t.context, name, h1)
  await changeSwarm(h1, ['node', 'update', '--availability', 'active', h2.name])
  await changeSwarm(h2, ['node', 'update', '--availability', 'drain', h1.name])
  await changeSwarm(h2, ['node', 'demote', h1.name])
  for (const name of PAIR) await runningOn(t.context, name, h2)
  t.is((await h2.docker(['node', 'inspect', h1.name, '-f', '{{.Spec.Role}}'])).stdout.trim(), 'worker')

  await changeSwarm(h2, ['node', 'promote', h1.name])
  await changeSwarm(h2, ['node', 'update', '--availability', 'active', h1.name])
  const to = ['--constraint-rm', 'node.hostname!=h3', '--constraint-add', 'node.hostname==h3']
  await Promise.all(PAIR.map((name) => updateService(t.context, name, ...to)))
  for (const name of PAIR) await runningOn(t.context, name, h3)
  for (const name of PAIR) wordsInOrder(t, await fileOf(h3, 'pair', name))
}
