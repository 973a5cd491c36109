#!/usr/bin/env node
import { type Command, CommanderError } from 'commander'
import { pathsUnder } from '../agent/host/paths.ts'
import { WherryError } from '../agent/model/errors.ts'
import type { Call, Run } from './command.ts'
import { createProgram } from './program.ts'
import { missingValue, WrongCall, wrongArguments } from './wrong-call.ts'

/** The `wherry` command: asks this host's agent over its socket and prints the reply. */

/** Exit codes: 0 done; 1 it did not work, standard error says why; 2 it was called wrongly. */
const FAILED = 1
const CALLED_WRONGLY = 2

interface Settings {
  readonly json?: boolean
  readonly socket?: string
}

/** Runs the action of a command with the agent's client. Returns the exit code. */
function runWith(signal: AbortSignal): Run {
  return <Given extends unknown[]>(action: (call: Call, ...given: Given) => Promise<number>) =>
    async (...given: unknown[]) => {
      // Commander gives arguments and options, then the command.
      const command = given.pop() as Command
      // An empty argument is a variable of a script that was never set.
      if (command.args.includes('')) throw wrongArguments(command)
      const { json = false, socket = pathsUnder('/').agentSocket } = settingsOf(command)
      if (socket === '' || socket.startsWith('-')) throw missingValue(command, '--socket <PATH>')
      // Imported here: help and wrong calls need no HTTP.
      const { createAgentClient } = await import('../agent/api/client.ts')
      await using agent = createAgentClient(socket)
      const print = (text: string) => void process.stdout.write(`${text}\n`)
      process.exitCode = await action({ agent, json, print, signal }, ...(given as Given))
    }
}

/** The common options of a call: they may stand before the command and after it, and the last one counts. */
function settingsOf(command: Command): Settings {
  return { ...(command.parent === null ? {} : settingsOf(command.parent)), ...command.opts<Settings>() }
}

/** Tells the operator why the call failed. Returns the exit code. */
function explain(error: unknown, signal: AbortSignal): number {
  // Only help ends this way, and it is printed.
  if (error instanceof CommanderError) return 0
  if (error instanceof WrongCall) {
    process.stderr.write(`wherry: ${error.message}\n\n${error.command.helpInformation()}`)
    return CALLED_WRONGLY
  }
  const line = error instanceof WherryError ? `${error.code}: ${error.toLine()}` : String(error)
  if (!signal.aborted) process.stderr.write(`wherry: ${line}\n`)
  return FAILED
}

const stop = new AbortController()
for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => stop.abort())
try {
  await createProgram(runWith(stop.signal)).parseAsync(process.argv)
} catch (error) {
  process.exitCode = explain(error, stop.signal)
}
