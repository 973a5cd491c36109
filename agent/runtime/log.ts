import { constants, fstatSync, openSync, writeSync } from 'node:fs'
import { type DestinationStream, type Logger, pino } from 'pino'
import { describeError, formatLine } from './log-line.ts'

const STDOUT = 1

const DROPPED = 'log lines dropped: nobody read them'

/** Node's own code for a process that ended by an error that nobody caught. */
const EXIT_UNCAUGHT = 1

/**
 * Opens the log of one part of Wherry on standard output: one line for each event (`formatLine`).
 * `base` has the part's name, and fields that all its lines have.
 * A pipe without a reader holds 64 KiB or so and then blocks its writer; dockerd's has none while the engine is down.
 * Then lines are dropped: a lease must be renewed, and a container thawed, all the same.
 */
export function createLog(level: string, base: LogBase): Logger {
  const options = {
    level,
    base,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    serializers: { err: describeError },
  }
  return pino(options, openOutput(base))
}

/** What all lines of a log have. */
interface LogBase extends Readonly<Record<string, string>> {
  /** The part of Wherry: plugin or agent. */
  readonly part: string
}

/** Logs the error that ends this process because nobody caught it, as one line. Node would print many. */
export function logCrash(log: Logger): void {
  process.once('uncaughtException', (error) => {
    log.fatal({ err: error }, 'process crashed')
    process.exit(EXIT_UNCAUGHT)
  })
}

function openOutput(base: LogBase): DestinationStream {
  const fd = openPipe()
  if (fd === null) {
    const output = pino.destination(STDOUT)
    return { write: (json) => void output.write(formatLine(json)) }
  }
  let dropped = 0
  let isCut = false
  return {
    write(json) {
      const note = { level: 'warn', time: new Date().toISOString(), ...base, lines: dropped, msg: DROPPED }
      const noted = dropped > 0 ? formatLine(JSON.stringify(note)) : ''
      const text = Buffer.from(`${isCut ? '\n' : ''}${noted}${formatLine(json)}`)
      try {
        // A long line may be written in part: the next write ends it.
        isCut = writeSync(fd, text) < text.length
        dropped = isCut ? 1 : 0
      } catch {
        dropped += 1
      }
    },
  }
}

/**
 * Opens standard output again, as a separate file description: other users of the pipe must not see it non-blocking.
 * Null: it is not a pipe.
 */
function openPipe(): number | null {
  try {
    if (!fstatSync(STDOUT).isFIFO()) return null
    return openSync(`/proc/self/fd/${STDOUT}`, constants.O_WRONLY | constants.O_NONBLOCK)
  } catch {
    return null
  }
}
