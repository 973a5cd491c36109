import { Command } from 'commander'
import type { AgentApi } from '../agent/api/contract.ts'
import { formatHelp } from './help.ts'
import { toWrongCall } from './wrong-call.ts'

/** What an action works with. */
export interface Call {
  readonly agent: AgentApi
  readonly json: boolean
  readonly print: (text: string) => void
  /** Aborts when the operator stops the command. */
  readonly signal: AbortSignal
}

/**
 * Wraps the action of a command: checks its arguments, connects to the agent, and keeps the exit code that the action
 * returns. The action gets the call, then its arguments, then its options.
 */
export type Run = <Given extends unknown[]>(
  action: (call: Call, ...given: Given) => Promise<number>,
) => (...given: unknown[]) => Promise<void>

/** Creates a command with the options that every command has. The summary is what `wherry --help` says of it. */
export function newCommand(name: string, summary: string): Command {
  return newGroup(name, summary)
    .option('--json', 'print JSON, for programs')
    .option('--socket <PATH>', "the agent's socket, default /var/lib/wherry/agent.sock")
}

/** Creates a command that only has subcommands. */
export function newGroup(name: string, summary: string): Command {
  const command = new Command(name)
    .summary(summary)
    .helpCommand(false)
    .enablePositionalOptions()
    .showSuggestionAfterError(false)
    .configureHelp({ formatHelp })
    // Complaints are printed elsewhere. What is left for standard error is the help of a group without a command.
    .configureOutput({ outputError: () => {}, writeErr: (text) => process.stdout.write(text) })
  return command.exitOverride((error) => {
    throw toWrongCall(command, error)
  })
}

/** Prints a view that the agent returned, as text or as JSON. Returns the exit code 0. */
export function printView<T>({ json, print }: Call, view: T, show: (view: T) => string): number {
  print(json ? JSON.stringify(view, null, 2) : show(view))
  return 0
}
