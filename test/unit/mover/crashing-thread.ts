/**
 * The mover's thread as it is, except that it ends its process, as kill -9 would, at the step WHERRY_TEST_STEP names: `<step> <nth time>`.
 */
import { parentPort } from 'node:worker_threads'
import { pino } from 'pino'
import type { MoverOptions } from '../../../agent/mover/calls.ts'
import { Line } from '../../../agent/mover/line.ts'
import { openServices } from '../../../agent/mover/services.ts'

if (parentPort === null) throw new Error('This file runs as a thread only.')
const [fatal, nth] = (process.env.WHERRY_TEST_STEP ?? '').split(' ')
let left = Number(nth)
const line = new Line(parentPort, {
  async open(options: MoverOptions) {
    const faultPoint = (step: string) => {
      if (step !== fatal) return
      left -= 1
      if (left === 0) process.kill(process.pid, 'SIGKILL')
    }
    line.answer(await openServices(options, line, pino({ level: options.logLevel }), faultPoint))
  },
})
