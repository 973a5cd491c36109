#!/usr/bin/env node
import { parseArgs } from 'node:util'
import { createAgentClient } from '../agent/api/client.ts'
import { pathsUnder } from '../agent/host/paths.ts'
import { WherryError } from '../agent/model/errors.ts'
import { COMMANDS, type Command } from './commands.ts'
import { HELP, usageOf } from './help.ts'

/** The `wherry` command: asks this host's agent over its socket and shows the answer. */

/** Exit codes: 0 done; 1 it did not work, standard error says why; 2 it was called wrongly. */
const FAILED = 1
const CALLED_WRONGLY = 2

const OPTIONS = {
  socket: { type: 'string' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
  'accept-loss': { type: 'boolean' },
  force: { type: 'boolean' },
  off: { type: 'boolean' },
  'no-wait': { type: 'boolean' },
} as const

/** Options every command has. */
const COMMON = ['socket', 'json', 'help']

async function main(args: readonly string[], signal: AbortSignal): Promise<number> {
  const call = readCall(args)
  if (call === null) {
    process.stdout.write(HELP)
    return 0
  }
  if ('wrong' in call) {
    process.stderr.write(`wherry: ${call.wrong}\n\n${call.usage}`)
    return CALLED_WRONGLY
  }
  const { command, values, operands } = call
  const socket = typeof values.socket === 'string' ? values.socket : pathsUnder('/').agentSocket
  await using agent = createAgentClient(socket)
  const print = (text: string) => void process.stdout.write(`${text}\n`)
  const flags = { json: values.json === true, given: (flag: string) => flag in values }
  return await command.run({ agent, operands, flags, print, signal })
}

/** What was asked for; null: help; or what is wrong with it, and how it is called. */
function readCall(args: readonly string[]) {
  const { values, positionals, tokens } = parse(args)
  const [name, ...operands] = positionals
  if (values.help === true) return null
  if (name === undefined && args.length === 0) return null
  const command: Command | undefined = name !== undefined && Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (name !== undefined && command === undefined) return { wrong: `there is no command "${name}".`, usage: HELP }
  const usage = name === undefined ? HELP : usageOf(name)
  for (const token of tokens) {
    const wrong = token.kind === 'option' ? whatIsWrong(token, name, command) : null
    if (wrong !== null) return { wrong, usage }
  }
  if (name === undefined || command === undefined) return null
  // An empty one is a variable of a script that was never set.
  if (operands.length !== command.operands.length || operands.includes('')) {
    const wanted = command.operands.length === 0 ? 'nothing after it' : command.operands.join(' ')
    return { wrong: `"${name}" wants ${wanted}.`, usage }
  }
  return { command, values, operands }
}

/** Null: the option is one of the command's, with a value if it needs one. */
function whatIsWrong(
  { name, rawName, value }: { readonly name: string; readonly rawName: string; readonly value?: string | undefined },
  commandName: string | undefined,
  command: Command | undefined,
): string | null {
  const isKnown = Object.hasOwn(OPTIONS, name) && (COMMON.includes(name) || command?.flags.includes(name) === true)
  if (!isKnown) {
    return commandName === undefined ? `There is no option ${rawName}.` : `"${commandName}" has no option ${rawName}.`
  }
  if (name !== 'socket') return value === undefined ? null : `Option ${rawName} takes no value.`
  return value === undefined || value === '' || value.startsWith('-')
    ? `Option ${rawName} needs a path after it.`
    : null
}

/** Takes everything, so that what is wrong is said in our words and not in those of Node. */
function parse(args: readonly string[]) {
  return parseArgs({ args: [...args], options: OPTIONS, allowPositionals: true, strict: false, tokens: true })
}

const stop = new AbortController()
for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => stop.abort())
try {
  process.exitCode = await main(process.argv.slice(2), stop.signal)
} catch (error) {
  const line = error instanceof WherryError ? `${error.code}: ${error.toLine()}` : String(error)
  if (!stop.signal.aborted) process.stderr.write(`wherry: ${line}\n`)
  process.exitCode = FAILED
}
