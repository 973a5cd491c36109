/**
 * An agent's process without data, for tests of the plugin that starts it: serves the real API over volumes in memory.
 * TINY_AGENT chooses how it behaves; every start and stop is a line in DIR/diary.
 */
import { appendFileSync, existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import { serveApi } from '../../../agent/api/server.ts'
import { EXIT_WRONG_SETTING } from '../../../agent/host/config.ts'
import { pathsUnder, rootOf } from '../../../agent/host/paths.ts'
import { createMemoryMobility } from '../api/memory-mobility.ts'

const root = rootOf(process.argv.slice(2))
const paths = pathsUnder(root)
const behaviour = process.env.TINY_AGENT
const note = (what: string) => appendFileSync(join(root, 'diary'), `${what} ${process.pid} ${performance.timeOrigin}\n`)

note(existsSync(paths.pluginSocket) ? 'start' : 'start-before-socket')
if (behaviour === 'crash') process.exit(1)
if (behaviour === 'wrong-setting') {
  process.stderr.write('wherry: The setting is wrong. Mend it.\n')
  process.exit(EXIT_WRONG_SETTING)
}
process.on('SIGTERM', () => {
  if (behaviour === 'stubborn') return
  note('stop')
  process.exit(0)
})
process.on('disconnect', () => process.exit(0))
if (behaviour === 'late') await sleep(2_000)
await serveApi({
  mobility: createMemoryMobility(),
  metrics: async () => '',
  socketPath: paths.agentSocket,
  log: pino({ level: 'silent' }),
})
note('serve')
