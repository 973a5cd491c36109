import { seizureFields } from '../../agent/mobility/record/lineage.ts'
import type { Seizure } from '../../agent/model/model.ts'
import { EMPTY } from './tree.ts'
import type { SimWorld } from './world.ts'

/** More than the record's list keeps. */
const TAKE_OVERS = 42
const LOOK_MS = 200
/** When the container of the host that is away stops writing, after the cut: its next checkpoint has everything. */
const IDLE_AFTER_MS = 300
/** Writer of commits that no simulated host made. */
export const HISTORY = 'history'
/** How long all of it may take. */
export const TAKING_OVER_MS = 120_000

/**
 * Leaves what an older release left of a hold that was never committed: a checkpoint of the empty tree, under the name
 * of another one.
 */
export function leaveForged(world: SimWorld): void {
  for (const volume of world.volumes) {
    const record = world.registry.record(volume)
    if (record === null || record.removedAt !== null) continue
    for (const machine of world.machines()) {
      const { disk, clocks } = machine
      if (record.holder?.host === machine.host || disk.shelf(record.id) !== undefined || world.random.hit(0.4)) continue
      disk.create(record)
      const shelf = disk.shelf(record.id)
      if (shelf === undefined) continue
      const { epoch, seq } = record.last !== null && world.random.hit(0.5) ? record.last : { epoch: 1, seq: 1 }
      const checkpoint = { epoch, seq, hash: EMPTY.hash, at: clocks.now().toISOString(), bytes: 0, files: 0 }
      // It may have seen that epoch since, when another host held in it. Of a removed volume it may be the only host
      // that knows.
      const maySee = record.epoch >= epoch && !world.scenarios.has('removals')
      const epochSeen = maySee && world.random.hit(0.5) ? epoch : epoch - 1
      world.checker.names.forge(record.id, checkpoint)
      shelf.record = { ...shelf.record, checkpoint, epochSeen }
      world.trace(machine.host, `FAULT: an older release left checkpoint ${epoch}.${seq} of an empty ${volume}`)
    }
  }
}

/**
 * Takes the volume over more often than the record's list is long, while a host with a tree of its own is away. Only
 * the first time is played.
 */
export function takeOverOften(world: SimWorld): void {
  const [volume] = world.volumes
  if (volume === undefined) return
  const { holder: held, copies = {} } = world.registry.record(volume) ?? {}
  const holder = held?.host
  const isCopied = Object.entries(copies).some(([host, { state }]) => host !== holder && state === 'current')
  if (holder === undefined || !isCopied) return void world.timeline.after(LOOK_MS, () => takeOverOften(world))
  const away = world.machine(holder)
  world.trace(holder, 'FAULT: it is away for many take-overs')
  for (const other of world.hosts) {
    if (other === holder) continue
    world.network.cut(holder, other)
    world.network.cut(other, holder)
  }
  world.network.onChange()
  // Then its newest checkpoint is all that it has.
  away.later(IDLE_AFTER_MS, () => world.operators.pause(holder))
  const isElsewhere = () => ![undefined, holder].includes(world.registry.record(volume)?.holder?.host)
  wait(world, isElsewhere, () => {
    world.swarm.halt(volume)
    wait(
      world,
      () => world.registry.record(volume)?.holder === null,
      () => {
        takeOver(world, volume)
        world.swarm.run(volume)
      },
    )
  })
}

/** Writes many take-overs of an idle volume from its newest checkpoint, as if an operator had promoted. */
function takeOver(world: SimWorld, volume: string): void {
  const { volumes } = world.registry
  let record = world.registry.record(volume)
  if (record === null || record.last === null) return
  const { epoch, seq, hash } = record.last
  for (let left = TAKE_OVERS; left > 0; left--) {
    const next: number = record.epoch + 1
    const base = { epoch, seq, hash }
    const seizure: Seizure = { epoch: next, from: '', by: HISTORY, at: new Date(0).toISOString(), base, ageSeconds: 0 }
    record = { ...record, epoch: next, ...seizureFields(record, seizure) }
  }
  volumes.commit(volume, record, volumes.read(volume, volumes.revision)?.revision ?? null, HISTORY)
  world.trace('-', `FAULT: ${volume} was taken over ${TAKE_OVERS} times, up to epoch ${record.epoch}`)
}

function wait(world: SimWorld, isSo: () => boolean, then: () => void): void {
  if (isSo()) then()
  else world.timeline.after(LOOK_MS, () => wait(world, isSo, then))
}
