#!/usr/bin/env node
import { parseArgs } from 'node:util'
import { createAgentClient } from '../agent/api/client.ts'
import { WherryError } from '../agent/errors.ts'
import { pathsUnder } from '../agent/paths.ts'
import { COMMANDS, type Command } from './commands.ts'
import { HELP } from './help.ts'

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
  if (typeof call === 'string') {
    process.stderr.write(`wherry: ${call}\n\n${HELP}`)
    return CALLED_WRONGLY
  }
  if (call === null) {
    process.stdout.write(HELP)
    return 0
  }
  const { command, values, operands } = call
  await using agent = createAgentClient(values.socket ?? pathsUnder('/').agentSocket)
  const print = (text: string) => void process.stdout.write(`${text}\n`)
  const flags = { json: values.json === true, given: (flag: string) => flag in values }
  return await command.run({ agent, operands, flags, print, signal })
}

/** What was asked for; null: help. A text says what is wrong. */
function readCall(args: readonly string[]) {
  let parsed: ReturnType<typeof parse>
  try {
    parsed = parse(args)
  } catch (error) {
    return (error as Error).message
  }
  const [name, ...operands] = parsed.positionals
  if (parsed.values.help === true || name === undefined) return null
  const command: Command | undefined = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (command === undefined) return `there is no command "${name}".`
  // An empty one is a variable of a script that was never set.
  if (operands.length !== command.operands.length || operands.includes('')) {
    const wanted = command.operands.length === 0 ? 'nothing after it' : command.operands.join(' ')
    return `"${name}" wants ${wanted}.`
  }
  const foreign = Object.keys(parsed.values).find((flag) => !COMMON.includes(flag) && !command.flags.includes(flag))
  if (foreign !== undefined) return `"${name}" has no option --${foreign}.`
  return { command, values: parsed.values, operands }
}

function parse(args: readonly string[]) {
  return parseArgs({ args: [...args], options: OPTIONS, allowPositionals: true })
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
