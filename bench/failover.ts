import type { Host } from '../lab/host.ts'
import { postgres } from '../lab/images.ts'
import { Lab } from '../lab/lab.ts'
import { Ledger, query } from '../lab/ledger.ts'
import { changeSwarm } from '../lab/swarm.ts'
import { failoverReport, type SizeResult } from './failover-report.ts'
import type { LabReport, LabSettings } from './lab-report.ts'
import { cutPower, drain, type Move, type MoveGround, type PowerCut } from './moves.ts'
import { returnToService } from './power.ts'
import { Service } from './service.ts'

/** A host that comes back copies everything again: one power cut of the large volume has to do. */
const SIZES = [
  { gigabytes: 1, cuts: 2 },
  { gigabytes: 10, cuts: 1 },
]

/**
 * For how long a PostgreSQL does not answer when its host is drained and when its host's power is cut, with little
 * and with much data beside it. The host that leads the Swarm takes no tasks and stays, so that no election is part
 * of what is measured.
 */
export async function benchFailover({ rounds, scale, say }: LabSettings): Promise<LabReport> {
  await using lab = await Lab.start({ swarm: 'workers', log: say })
  await lab.installPlugin()
  const image = await lab.image(postgres)
  await Promise.all(lab.hosts.map((host) => host.docker(['pull', '--quiet', image])))
  const manager = lab.host(1)
  await changeSwarm(manager, ['node', 'update', '--availability', 'drain', manager.name])
  const results: SizeResult[] = []
  for (const size of SIZES) results.push(await playSize(lab, manager, image, { ...size, rounds, scale, say }))
  return failoverReport(results)
}

async function playSize(
  lab: Lab,
  manager: Host,
  image: string,
  { gigabytes, cuts, rounds, scale, say }: LabSettings & { gigabytes: number; cuts: number },
): Promise<SizeResult> {
  const service = new Service(lab, `db${gigabytes}`, manager)
  let holder = await service.start(image)
  await query(lab, holder, 'create table ledger (n bigint primary key, host text)')
  await service.fill(holder, gigabytes * scale)
  await service.copied(holder)
  say(`${gigabytes} GB on ${holder.name}, copied to ${service.other(holder).name}`)
  await using ledger = new Ledger(
    lab,
    lab.hosts.filter((host) => host !== manager),
  )
  const ground: MoveGround = { lab, manager, service, ledger }
  const next = async <M extends Move>(what: string, play: () => Promise<M>): Promise<M> => {
    await service.copied(holder)
    const move = await play()
    say(`  ${what} ${holder.name} -> ${service.other(holder).name}: ${JSON.stringify(move)}`)
    holder = service.other(holder)
    return move
  }
  const planned: Move[] = []
  for (let round = 1; round <= rounds; round++) planned.push(await next('planned', () => drain(ground, holder)))
  const rebooted = await next('planned, after a reboot there', async () => {
    const other = service.other(holder)
    await other.powerCut()
    const returnSeconds = await returnToService(ground, other)
    return { ...(await drain(ground, holder)), returnSeconds }
  })
  const unplanned: PowerCut[] = []
  for (let cut = 1; cut <= cuts; cut++) {
    unplanned.push(await next('power cut', () => cutPower(ground, holder)))
  }
  await ledger.stop()
  await service.remove()
  return { gigabytes, planned, rebooted, unplanned }
}
