import { spawn } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'ava'
import { NatsBus } from '../../../agent/bus/bus.ts'
import { EmbeddedNats } from '../../../agent/bus/embedded.ts'
import { type NatsSettings, planNats } from '../../../agent/bus/plan.ts'
import { JetStreamRegistry } from '../../../agent/registry/registry.ts'
import { BUCKET_NAMES } from '../../../agent/registry/setup.ts'
import { openRegistry, volumeRecord } from '../registry/records.ts'
import { certificates, eventually, freePorts, natsServer, recordingLog, scratch, startHost } from './server.ts'

test("the user's own NATS is reached over ordinary TLS by its IP address, and a host's old records go there", async (t) => {
  await using made = await scratch()
  const tls = (await certificates(join(made.dir, 'certs'), ['127.0.0.1', '127.0.0.2']))['127.0.0.2']
  const server = (await certificates(join(made.dir, 'certs'), ['127.0.0.1']))['127.0.0.1']
  if (tls === undefined || server === undefined) return t.fail()
  const [port = 0] = await freePorts(1)
  const config = join(made.dir, 'own.conf')
  await writeFile(
    config,
    `listen: "127.0.0.1:${port}"
     jetstream { store_dir: "${made.dir}/own" }
     authorization { user: u, password: "p:w" }
     tls { ca_file: "${server.ca}", cert_file: "${server.cert}", key_file: "${server.key}", verify: true }`,
  )
  const child = spawn(await natsServer(), ['-c', config], { stdio: 'ignore' })
  t.teardown(() => child.kill('SIGKILL'))

  const stateDir = join(made.dir, 'state')
  {
    await using alone = await startHost({ stateDir })
    await using registry = await openRegistry(alone)
    await eventually('a record', async () => (await registry.addVolume(volumeRecord('data'))).outcome === 'done')
  }
  const urls = [`tls://u:p%3Aw@127.0.0.1:${port}`]
  const settings: NatsSettings = { advertise: '127.0.0.2', peers: [], urls, clientPort: 0, clusterPort: 0 }
  const plan = planNats(settings)
  const { log } = recordingLog()
  await using embedded = await EmbeddedNats.start({
    plan,
    settings,
    stateDir,
    tls,
    buckets: BUCKET_NAMES,
    binary: await natsServer(),
    log,
  })
  t.is(embedded.state(), null)
  await using bus = new NatsBus({ endpoint: embedded.endpoint, name: 'own', log })
  await using registry = new JetStreamRegistry({
    bus,
    replicas: plan.replicas,
    oldStore: await embedded.oldStore(),
    seenPath: embedded.seenPath,
    manages: true,
    seals: null,
    log,
  })
  t.is((await eventually('the record', () => registry.volume('data'))).value.name, 'data')
  t.true(bus.state().connected)
})
