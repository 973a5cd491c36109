#!/usr/bin/env node
import { type Command, CommanderError } from 'commander'
import { pathsUnder } from '../agent/host/paths.ts'
import { WherryError } from '../agent/model/errors.ts'
import type { Call, Run } from './command.ts'
import { createProgram } from './program.ts'
import { missingValue, noOption, WrongCall, wrongArguments } from './wrong-call.ts'

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
      // Commander takes "-1" for a number.
      const option = process.argv.includes('--') ? undefined : command.args.find((arg) => arg.startsWith('-'))
      if (option !== undefined) throw noOption(command, option)
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

/** Puts the options of a command behind its name: they may be typed before it. Common options may stand anywhere. */
function commandFirst(args: readonly string[]): string[] {
  let at = 0
  while (args[at]?.startsWith('-') && args[at] !== '--') at += args[at] === '--socket' ? 2 : 1
  return [...args.slice(at, at + 1), ...args.slice(0, at), ...args.slice(at + 1)]
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
  await createProgram(runWith(stop.signal)).parseAsync(commandFirst(process.argv.slice(2)), { from: 'user' })
} catch (error) {
  process.exitCode = explain(error, stop.signal)
}
