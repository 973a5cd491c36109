/**
 * One host's side of Wherry in the bench: a process that does what it is told by lines of JSON on its input and answers
 * each by a line. `end.ts STATE_DIR ADDRESS PORT`. Ends with its input.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { createInterface } from 'node:readline'
import { type Copier, openCopier } from './copier.ts'
import type { Order, Stats } from './order.ts'

/** How often the loop's delay is looked at. A delay is found this much too long: it is never said too short. */
const RESOLUTION_MS = 2

const [stateDir = '', address = '', port = ''] = process.argv.slice(2)
const copier = await openCopier({ stateDir, address, port: Number(port) })
const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
delay.enable()
let cpuBefore = process.cpuUsage()

async function obey(order: Order, on: Copier): Promise<unknown> {
  switch (order.do) {
    case 'create':
      return on.create(order.id, order.options)
    case 'capture':
      return on.capture(order.id)
    case 'pull':
      return on.pull(order.id, order.from, order.hash)
    case 'apply':
      return on.apply(order.id, order.checkpoint)
    case 'hold':
      return on.hold(order.id)
    case 'take':
      return on.take(order.id, order.seq)
    case 'drop':
      return on.drop(order.id)
    case 'reset':
      // 5: forget the peak of resident memory (proc(5), clear_refs).
      writeFileSync('/proc/self/clear_refs', '5')
      delay.reset()
      cpuBefore = process.cpuUsage()
      return null
    case 'stats':
      return stats()
  }
}

function stats(): Stats {
  const { user, system } = process.cpuUsage(cpuBefore)
  const peak = /VmHWM:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]
  return {
    peakBytes: Number(peak) * 1024,
    cpuSeconds: (user + system) / 1e6,
    delayMaxMs: delay.max / 1e6,
    delayP99Ms: delay.percentile(99) / 1e6,
  }
}

process.stdout.write('{"ready":true}\n')
for await (const line of createInterface({ input: process.stdin })) {
  let answer: object
  try {
    answer = { value: (await obey(JSON.parse(line) as Order, copier)) ?? null }
  } catch (error) {
    answer = { error: (error as Error).stack }
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`)
}
await copier[Symbol.asyncDispose]()
