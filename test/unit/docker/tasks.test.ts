import test from 'ava'
import type Docker from 'dockerode'
import type { PlacedTask } from '../../../agent/docker/contract.ts'
import { createTasks } from '../../../agent/docker/tasks.ts'

/** What the engine's API says of one task with these volumes. */
function task(sources: readonly string[], more: object = {}): object {
  const Mounts = sources.map((Source) => ({ Type: 'volume', Source, Target: `/${Source}` }))
  const placed = { ID: 't1', ServiceID: 's1', NodeID: 'n1', Slot: 2, DesiredState: 'running', Status: { State: 'new' } }
  return { ...placed, Spec: { ContainerSpec: { Mounts } }, ...more }
}

async function placed(tasks: readonly object[], listServices?: () => Promise<object[]>): Promise<PlacedTask[]> {
  return await createTasks({ listTasks: async () => tasks, listServices } as unknown as Docker).tasks()
}

test('tasks that are to run are listed with their volumes, others are not', async (t) => {
  const tasks = [
    task(['data']),
    task(['data'], { DesiredState: 'shutdown' }),
    task(['data'], { Status: { State: 'failed' } }),
    task(['data'], { NodeID: undefined }),
    task([]),
  ]
  t.deepEqual(await placed(tasks), [{ task: 't1', service: 's1', node: 'n1', volumes: ['data'], options: {} }])
})

test('options that a service asks for are listed by the name of their volume', async (t) => {
  const mount = { Type: 'volume', Source: 'data-{{.Task.Slot}}', Target: '/data' }
  const asked = { ...mount, VolumeOptions: { DriverConfig: { Name: 'wherry', Options: { mode: '0700' } } } }
  const [found] = await placed([
    task([], { Spec: { ContainerSpec: { Mounts: [asked, { ...mount, Source: 'other' }] } } }),
  ])
  t.deepEqual(found?.options, { 'data-2': { mode: '0700' } })
})

test('a name by slot is that of the task, and of its node in a global service', async (t) => {
  const source = 'a-{{.Task.Slot}}-{{ .Node.ID }}'
  t.deepEqual((await placed([task([source])]))[0]?.volumes, ['a-2-n1'])
  t.deepEqual((await placed([task([source], { Slot: undefined })]))[0]?.volumes, ['a-n1-n1'])
})

test('services are listed when a name has that of its service', async (t) => {
  const services = async () => [{ ID: 's1', Spec: { Name: 'db' } }]
  t.deepEqual((await placed([task(['{{.Service.Name}}-{{.Task.Slot}}'])], services))[0]?.volumes, ['db-2'])
})

test('a volume whose name depends on what a manager does not know is left out', async (t) => {
  const sources = ['{{.Node.Hostname}}', '{{index .Service.Labels "x"}}', 'plain']
  t.deepEqual((await placed([task(sources)]))[0]?.volumes, ['plain'])
  t.deepEqual(await placed([task(['{{.Service.Name}}'])], async () => []), [])
})
