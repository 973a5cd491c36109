import test from 'ava'
import { WHOLE_FILE } from '../../../../agent/store/tracker/change-log.ts'
import { InodeTracker } from '../../../../agent/store/tracker/inode-tracker.ts'
import type { KernelPart } from '../../../../agent/store/tracker/kernel-part.ts'
import { PLACES_BYTES } from '../../../../agent/store/tracker/touched-since.ts'

/** A kernel that notes what it is told, has room for so many inodes, and loses what it is told to. */
function pretend(room = 100) {
  const watched = new Set<bigint>()
  let marks: [bigint, number][] = []
  const state = {
    lost: 0n,
    closed: 0,
    places: new Uint32Array(PLACES_BYTES / 4),
    watched,
    event: (inode: bigint, block: number) => void marks.push([inode, block]),
  }
  const kernel: KernelPart = {
    add: (inodes) => {
      const fitting = inodes.slice(0, Math.max(0, room - watched.size))
      for (const inode of fitting) watched.add(inode)
      return fitting.length
    },
    remove: (inodes) => {
      for (const inode of inodes) if (!watched.delete(inode)) throw new Error(`${inode} was not watched`)
    },
    drain: (take) => {
      const taken = marks
      marks = []
      for (const [inode, block] of taken) take(inode, block, 1)
      return taken.length
    },
    lost: () => ({ events: state.lost, why: 'E2BIG' }),
    begin: () => undefined,
    places: () => state.places,
    [Symbol.dispose]: () => {
      state.closed += 1
    },
  }
  return { kernel, state }
}

test('a cut stamps what the kernel noted, and counts it', (t) => {
  const { kernel, state } = pretend()
  const tracker = new InodeTracker(kernel, { tellsTouched: true })
  tracker.watch('v', [1n, 2n])
  const first = tracker.cut()
  state.event(1n, 3)
  state.event(2n, WHOLE_FILE)
  // Not before a cut has taken it out.
  t.deepEqual(tracker.changes(1n, first), [])
  t.true(tracker.cut() > first)
  t.deepEqual(tracker.changes(1n, first), [{ offset: 3 * 16_384, length: 16_384 }])
  t.is(tracker.changes(2n, first), 'all')
  t.like(tracker.stats, { watchedInodes: 2, drainedBlocks: 2, keptBlocks: 1, losses: 0, refusedInodes: 0 })
})

test('events that the kernel lost make what was before unknown, once', (t) => {
  const { kernel, state } = pretend()
  state.lost = 5n
  const tracker = new InodeTracker(kernel, { tellsTouched: true })
  tracker.watch('v', [1n])
  const first = tracker.cut()
  // Those of before it began are nobody's.
  t.deepEqual(tracker.changes(1n, first), [])
  state.event(1n, 3)
  state.lost = 6n
  const losing = tracker.cut()
  t.is(tracker.changes(1n, first), null)
  t.deepEqual(tracker.changes(1n, losing), [])
  tracker.cut()
  t.deepEqual(tracker.changes(1n, losing), [])
  t.is(tracker.stats.losses, 1)
})

test('inodes beyond the room are unknown, counted, and tried again', (t) => {
  const { kernel, state } = pretend(1)
  const tracker = new InodeTracker(kernel, { tellsTouched: true })
  tracker.watch('v', [1n, 2n])
  const first = tracker.cut()
  t.deepEqual(tracker.changes(1n, first), [])
  t.is(tracker.changes(2n, first), null)
  t.is(tracker.stats.refusedInodes, 1)
  tracker.watch('v', [2n])
  t.deepEqual([...state.watched], [2n])
  t.is(tracker.changes(2n, first), null)
  t.deepEqual(tracker.changes(2n, tracker.cut()), [])
})

test('the kernel keeps what any owner wants, and nothing else', (t) => {
  const { kernel, state } = pretend()
  const tracker = new InodeTracker(kernel, { tellsTouched: true })
  tracker.watch('v', [1n, 2n])
  tracker.watch('w', [2n, 3n])
  tracker.watch('v', [1n])
  t.deepEqual([...state.watched].sort(), [1n, 2n, 3n])
  tracker.unwatch('w')
  tracker.unwatch('w')
  t.deepEqual([...state.watched], [1n])
})

test('a tracker that was disabled says null to everything, says why, and lets the kernel go', (t) => {
  const { kernel, state } = pretend()
  const tracker = new InodeTracker(kernel, { tellsTouched: true })
  tracker.watch('v', [1n])
  const first = tracker.cut()
  t.is(tracker.failure, null)
  tracker.disable('The audit found a block that it had not told.')
  tracker.disable('Another reason.')
  t.is(tracker.failure, 'The audit found a block that it had not told.')
  t.is(tracker.changes(1n, first), null)
  t.true(tracker.cut() > first)
  t.is(tracker.changes(1n, first), null)
  tracker.watch('v', [2n])
  tracker.release('v', first)
  tracker.unwatch('v')
  tracker[Symbol.dispose]()
  t.is(state.closed, 1)
})

test('a call that the kernel fails ends the tracker, not the caller', (t) => {
  const { kernel, state } = pretend()
  const failing = {
    ...kernel,
    drain: () => {
      throw new Error('draining of dirty failed: EFAULT.')
    },
  }
  const tracker = new InodeTracker(failing, { tellsTouched: true })
  tracker.watch('v', [1n])
  const first = tracker.cut()
  t.is(tracker.failure, "The kernel's part failed: draining of dirty failed: EFAULT.")
  t.is(tracker.changes(1n, first), null)
  t.is(state.closed, 1)
})
