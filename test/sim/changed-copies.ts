import type { Faults } from './fault.ts'
import type { Machine } from './machine.ts'
import type { SimWorld } from './world.ts'

const CHANGED_MOST_MS = 60_000

/** Somebody takes the last record out of idle copies of a host. Later he puts it back and has the copy verified. */
export function changeIdle(world: SimWorld, machine: Machine): void {
  const { random, operators, timeline, trace, checker } = world
  for (const shelf of machine.disk.shelves.values()) {
    const { tree, record } = shelf
    if (record.held !== null || record.checkpoint?.hash !== tree.hash || tree.before === null) continue
    trace(machine.host, `FAULT: somebody changes the idle copy of ${record.name}`)
    const changed = tree.before
    shelf.tree = changed
    operators.busy++
    timeline.after(random.between(500, CHANGED_MOST_MS), () => {
      operators.busy--
      if (
        machine.disk.shelf(record.id) !== shelf ||
        shelf.tree !== changed ||
        shelf.record.checkpoint?.hash !== tree.hash
      ) {
        checker.oracle.of(record.id)?.takenOut.push({ host: machine.host, left: changed, whole: tree })
        return
      }
      trace(machine.host, `somebody undoes his change of ${record.name}`)
      shelf.tree = tree
      operators.verify(machine.host, record.name)
    })
  }
}

/** Files of an idle copy are changed behind Wherry's back. Only for mutations that are found out by it. */
export const TAMPERING: Faults = {
  tampering: (_world, machine) => {
    for (const shelf of machine.disk.shelves.values()) {
      if (shelf.record.held === null && shelf.tree.before !== null) shelf.tree = shelf.tree.before
    }
    return null
  },
}
