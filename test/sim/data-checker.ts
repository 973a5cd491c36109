import type { Oracle, VolumeTruth } from './oracle.ts'
import type { Totals } from './totals.ts'
import type { Tree } from './tree.ts'
import type { SimWorld } from './world.ts'

interface DataWatch {
  readonly oracle: Oracle
  readonly totals: Totals
  failed(rule: string, text: string): void
}

/** Checks that no disk drops writes that are nowhere else (promise 7). */
export class DataChecker {
  readonly #world: SimWorld
  readonly #checker: DataWatch

  constructor(world: SimWorld, checker: DataWatch) {
    this.#world = world
    this.#checker = checker
  }

  /** A tree is about to be replaced, or moved to the trash. */
  replaced(host: string, id: string, before: Tree, after: Tree | null): void {
    const truth = this.#checker.oracle.of(id)
    if (truth === undefined) return
    // A removed volume goes to the trash as it is.
    if (after === null && truth.isOver) {
      this.#checker.totals.removed++
      if (truth.givenUp?.host === host && truth.removed)
        this.#checker.failed(
          'promise 7',
          `what ${host} had of ${truth.name}, which was given up with it, went to the trash`,
        )
      return
    }
    const { name } = truth
    if (after !== null && this.#world.hostile?.isForged(after) === true)
      this.#checker.failed('promise 7', `${before} of ${name} on ${host} fell to a tree that was forged`)
    const { disk } = this.#world.machine(host)
    if (after === null && (disk.shelf(id)?.diverged.size ?? 0) > 0) {
      this.#checker.failed('promise 7', `a diverged copy of ${name} on ${host} went to the trash`)
    }
    if (before.length === 0) return
    const known =
      (after !== null && before.isPrefixOf(after)) || truth.committed.some((tree) => before.isPrefixOf(tree))
    if (!known)
      this.#checker.failed(
        'promise 7',
        `${before} of ${name} on ${host}, which the cluster never got, fell to ${after ?? 'the trash'}`,
      )
    const last = truth.committed[0]
    // Of a removed volume the others may have trashed theirs already.
    if (last === undefined || truth.isOver || (after !== null && last.isPrefixOf(after))) return
    const others = this.#world.machines().some((machine) => {
      const shelf = machine.host === host ? undefined : machine.disk.shelf(id)
      return (
        shelf !== undefined &&
        (last.isPrefixOf(shelf.tree) || (shelf.journal !== null && last.isPrefixOf(shelf.journal.target)))
      )
    })
    if (!others)
      this.#checker.failed(
        'promise 7',
        `the last copy of ${name} at ${last} fell to ${after ?? 'the trash'} on ${host}`,
      )
  }

  /** Checks at the end that nothing given up is gone: it is on its disk, or part of the line after all. */
  finish(): void {
    for (const [id, truth] of this.#checker.oracle.all) {
      this.#requireSetAside(id, truth)
      if (truth.isOver) continue
      for (const host of [...truth.forks.keys()]) truth.endFork(host)
      for (const { host, tree } of truth.abandoned) this.#requireKept(id, truth, host, tree.ackedPart())
    }
  }

  #requireKept(id: string, { name, head, takenOut }: VolumeTruth, host: string | null, kept: Tree): void {
    if (kept.isPrefixOf(head)) return
    const machines = this.#world.machines().filter((machine) => host === null || machine.host === host)
    const trees = machines.flatMap(({ disk, host: at }) => {
      const shelf = disk.shelf(id)
      const found = shelf === undefined ? [] : [shelf.tree, ...shelf.diverged.values()]
      // What somebody took out by hand of a tree that is kept as he left it was not lost by Wherry.
      const byHand = takenOut.filter(({ host: of, left }) => of === at && found.some(({ hash }) => hash === left.hash))
      return [...found, ...byHand.map(({ whole }) => whole)]
    })
    if (trees.some((one) => kept.isPrefixOf(one))) return
    this.#checker.failed(
      'promise 7',
      `${kept} of ${name}, given up by a seizure, are not on ${host ?? 'any host'} any more`,
    )
  }

  #requireSetAside(id: string, { name, givenUp }: VolumeTruth): void {
    if (givenUp === null) return
    const kept = givenUp.tree.ackedPart()
    const found = this.#world.machine(givenUp.host).disk.aside.find((one) => one.id === id)
    const trees = found === undefined ? [] : [found.tree, ...found.diverged.values()]
    if (kept.length > 0 && !trees.some((tree) => kept.isPrefixOf(tree)))
      this.#checker.failed('promise 7', `${kept} of ${name}, given up with ${givenUp.host}, are not set aside there`)
  }
}
