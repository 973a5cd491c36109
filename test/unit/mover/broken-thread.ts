/** A mover's thread with bugs: it opens, dies of `copies`, and never ends a `copy`. */
import { parentPort } from 'node:worker_threads'
import { Line } from '../../../agent/mover/thread-rpc.ts'

if (parentPort === null) throw new Error('This file runs as a thread only.')
new Line(parentPort, {
  open: () => undefined,
  stopServing: () => undefined,
  'store.copy': () => new Promise(() => undefined),
  'store.copies': () => {
    setImmediate(() => {
      throw new Error('a bug nobody caught')
    })
    return new Promise(() => undefined)
  },
})
