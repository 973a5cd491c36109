/** The mover's thread: `openMover` starts it. Its first call is `open`. */
import { parentPort } from 'node:worker_threads'
import { createLog } from '../runtime/log.ts'
import type { MoverOptions } from './store-proxy.ts'
import { Line } from './thread-rpc.ts'
import { openServices } from './worker-services.ts'

if (parentPort === null) throw new Error('This file runs as a thread only.')
const line = new Line(parentPort, {
  async open(options: MoverOptions) {
    const log = createLog(options.logLevel, { part: 'agent', thread: 'mover' })
    line.answer(await openServices(options, line, log))
  },
})
