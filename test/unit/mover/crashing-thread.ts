/**
 * The mover's thread as it is, except that it ends its process, as kill -9 would, at the step WHERRY_TEST_STEP names:
 * `<step> <nth time>`.
 */
import { parentPort } from 'node:worker_threads'
import { pino } from 'pino'
import type { MoverOptions } from '../../../agent/mover/store-proxy.ts'
import { Line } from '../../../agent/mover/thread-rpc.ts'
import { openServices } from '../../../agent/mover/worker-services.ts'
import { dieAt } from '../store/crash-at.ts'

if (parentPort === null) throw new Error('This file runs as a thread only.')
const [step = '', nth] = (process.env.WHERRY_TEST_STEP ?? '').split(' ')
const line = new Line(parentPort, {
  async open(options: MoverOptions) {
    const faultPoint = dieAt(step, Number(nth))
    line.answer(await openServices(options, line, pino({ level: options.logLevel }), faultPoint))
  },
})
