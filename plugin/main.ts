import { fileURLToPath } from 'node:url'
import { createAgentClient } from '../agent/api/client.ts'
import { openFreezerFiles } from '../agent/fence/freezer-files.ts'
import { EXIT_WRONG_SETTING, parseConfig } from '../agent/host/config.ts'
import { isKnownName } from '../agent/host/known-names.ts'
import { pathsUnder, rootOf } from '../agent/host/paths.ts'
import { WherryError } from '../agent/model/errors.ts'
import { systemClock } from '../agent/runtime/clock.ts'
import { createLog, logCrash } from '../agent/runtime/log.ts'
import { createCalls, QUICK_DEADLINE_MS } from './driver.ts'
import { EnginePatience } from './engine-patience.ts'
import { engineSocketReplaced } from './engine-socket.ts'
import { handedSocket } from './handed-socket.ts'
import { LastWords } from './last-words.ts'
import { Mounts } from './mounts.ts'
import { servePlugin } from './server.ts'
import { superviseAgent } from './supervisor.ts'

/** Imported once the socket serves: these modules would take a third of the time until then. */
const importLate = () => Promise.all([import('../agent/docker/engine.ts'), import('./watchdog.ts')])

/** EX_TEMPFAIL of sysexits.h: nothing is wrong, start this process again. */
const EXIT_START_AGAIN = 75

interface Options {
  readonly args: readonly string[]
  readonly env: NodeJS.ProcessEnv
  /** The agent's main file. */
  readonly agentEntry: string
}

/**
 * Runs the plugin: settings, the socket (an engine waits 12 s for it at most), the watchdog, the agent.
 * Returns the exit code: 0 after SIGTERM or SIGINT, 78 after a wrong setting, 75 when only a fresh start helps,
 * 1 when it could not start. The reason is one line on standard error.
 */
export async function runPlugin(options: Options): Promise<number> {
  try {
    return await run(options)
  } catch (error) {
    if (!(error instanceof WherryError)) throw error
    process.stderr.write(`wherry: ${error.toLine()}\n`)
    return error.code === 'SETTING_INVALID' ? EXIT_WRONG_SETTING : 1
  }
}

async function run({ args, env, agentEntry }: Options): Promise<number> {
  const config = parseConfig(env)
  const paths = pathsUnder(rootOf(args))
  const log = createLog(config.log, { part: 'plugin' })
  logCrash(log)
  const stop = new AbortController()
  const { signal } = stop
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.on(name, () => stop.abort(new Error(name)))

  await using stack = new AsyncDisposableStack()
  const lastWords = new LastWords(paths.stateDir, log)
  const agent = stack.use(createAgentClient(paths.agentSocket, async () => lastWords.end))
  const patience = new EnginePatience(log)
  const mounts = new Mounts({ agent, deadlineMs: config.mountDeadlineMs, patience, log, signal })
  const isKnown = (name: string) => isKnownName(paths.stateDir, name)
  const calls = createCalls({ agent, mounts, isKnown, deadlineMs: QUICK_DEADLINE_MS })
  const socket = handedSocket(env, process.pid) ?? paths.pluginSocket
  const server = stack.use(
    await servePlugin({ socket, calls, gaveUp: (afterMs) => patience.gaveUp(afterMs), log, signal }),
  )
  signal.addEventListener('abort', server.stopAccepting)
  log.info({ socket: paths.pluginSocket }, 'plugin serves')
  const [{ createEngine }, { openFence }] = await importLate()
  const engine = createEngine({ socketPath: paths.dockerSocket, log })
  const { stateDir } = paths
  const freezerFiles = openFreezerFiles(paths.controlGroups)
  const { leaseMs } = config
  const watch = stack.use(await openFence({ stateDir, engine, freezerFiles, clock: systemClock, leaseMs, log }))

  let exitCode = 0
  const watched = {
    socketPath: paths.dockerSocket,
    lastRequestMs: server.lastRequestMs,
    running: server.running,
    signal,
  }
  engineSocketReplaced(watched).then(
    () => {
      log.info({ socket: paths.dockerSocket }, 'engine restarted with a new socket: plugin restarts to get it')
      exitCode = EXIT_START_AGAIN
      stop.abort(new Error('the engine has a new socket'))
    },
    () => {},
  )
  await superviseAgent({ entry: agentEntry, args, env, log, lastWords, signal, watch })
  return exitCode
}

if (import.meta.main) {
  const agentEntry = fileURLToPath(import.meta.resolve('#agent'))
  process.exit(await runPlugin({ args: process.argv.slice(2), env: process.env, agentEntry }))
}
