import type { Dependencies } from '../../agent/mobility/dependencies.ts'
import type { VolumeOptions } from '../../agent/model/model.ts'
import type { LocalCopy } from '../../agent/store/contract.ts'
import type { Machine } from './machine.ts'
import { withStore } from './replace-methods.ts'

/** The store does not say which epochs the disk has seen. */
export function forgetEpochs(parts: Dependencies): Dependencies {
  const { store } = parts
  return withStore(parts, {
    copy: async (id) => {
      const copy = await store.copy(id)
      return copy === null ? null : { ...copy, epochSeen: 0 }
    },
    copies: async () => {
      const { copies, damaged } = await store.copies()
      return { copies: copies.map((copy) => ({ ...copy, epochSeen: 0 })), damaged }
    },
  })
}

/** The store does not say what its disk has noted of records. */
export function forgetMarks(parts: Dependencies): Dependencies {
  const { store } = parts
  return withStore(parts, {
    copies: async () => {
      const { copies, damaged } = await store.copies()
      return { copies: copies.map((copy) => ({ ...copy, recordSeen: null })), damaged }
    },
  })
}

/** A pre-copy round compares with the tree of the last scan, checkpoint or not. */
export function compareWithLastLook(parts: Dependencies, machine: Machine): Dependencies {
  const { store } = parts
  return withStore(parts, {
    spoolRound: async (id, signal) => {
      const round = await store.spoolRound(id, signal)
      const shelf = machine.disk.shelf(id)
      return { ...round, changed: shelf?.tree.hash !== shelf?.kept?.hash }
    },
  })
}

/** A quiet capture returns the hash of the checkpoint, whatever it finds. */
export function believeHashes(parts: Dependencies, machine: Machine): Dependencies {
  const { store } = parts
  return withStore(parts, {
    capture: async (id, kind, signal) => {
      const capture = await store.capture(id, kind, signal)
      const copy = await store.copy(id)
      if (kind === 'live' || copy === null || copy.held !== null || copy.checkpoint === null) return capture
      const shelf = machine.disk.shelf(id)
      if (shelf !== undefined) shelf.record = { ...shelf.record, damaged: null }
      return { ...capture, hash: copy.checkpoint.hash }
    },
  })
}

/** A hold that is taken back before it was committed leaves a checkpoint of its epoch. */
export function forgeUnborn(parts: Dependencies, machine: Machine): Dependencies {
  const { store } = parts
  return withStore(parts, {
    update: async (id, change) => {
      const copy = await store.copy(id)
      const tree = machine.disk.shelf(id)?.tree
      const isUnborn = change.held === null && copy !== null && copy.held !== null && copy.epochSeen < copy.held.epoch
      if (!isUnborn || copy.held === null || tree === undefined) return await store.update(id, change)
      const name = { epoch: copy.held.epoch, seq: (copy.checkpoint?.seq ?? 0) + 1 }
      const checkpoint = { ...name, hash: tree.hash, at: parts.clock.now().toISOString(), bytes: 0, files: 0 }
      return await store.update(id, { ...change, checkpoint })
    },
  })
}

/** Options in the records of the disk are replaced. */
function withLocalOptions(parts: Dependencies, options: Partial<VolumeOptions>): Dependencies {
  const { store } = parts
  const mutated = (copy: LocalCopy): LocalCopy => ({ ...copy, options: { ...copy.options, ...options } })
  return withStore(parts, {
    copy: async (id) => {
      const copy = await store.copy(id)
      return copy === null ? null : mutated(copy)
    },
    copies: async () => {
      const { copies, damaged } = await store.copies()
      return { copies: copies.map(mutated), damaged }
    },
  })
}

export function guardAll(parts: Dependencies): Dependencies {
  return withLocalOptions(parts, { onIsolation: 'pause' })
}

export function pauseLive(parts: Dependencies): Dependencies {
  return withLocalOptions(parts, { consistency: 'pause' })
}
