import { constants, fstatSync, openSync, writeSync } from 'node:fs'
import { type DestinationStream, type Logger, pino } from 'pino'

const STDOUT = 1
const WARN = 40

/**
 * Opens the log of one part of Wherry on standard output: one line of JSON for each event, each with `base`.
 * A pipe without a reader holds 64 KiB or so and then blocks its writer; dockerd's has none while the engine is down.
 * Then lines are dropped: a lease must be renewed, and a container thawed, all the same.
 */
export function createLog(level: string, base: Readonly<Record<string, string>>): Logger {
  return pino({ level, base }, openOutput(base))
}

function openOutput(base: Readonly<Record<string, string>>): DestinationStream {
  const fd = openPipe()
  if (fd === null) return pino.destination(STDOUT)
  let dropped = 0
  let isCut = false
  return {
    write(line) {
      const note = {
        level: WARN,
        time: Date.now(),
        ...base,
        lines: dropped,
        msg: 'log lines were dropped: nobody read',
      }
      const text = Buffer.from(`${isCut ? '\n' : ''}${dropped > 0 ? `${JSON.stringify(note)}\n` : ''}${line}`)
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
