import type { Command, CommanderError } from 'commander'
import { pathOf } from './help.ts'

/** The command was typed wrongly: exit code 2. The message is one line; the usage follows it. */
export class WrongCall extends Error {
  override readonly name = 'WrongCall'
  readonly command: Command

  constructor(command: Command, message: string) {
    super(message)
    this.command = command
  }
}

/** Turns commander's complaint about a command into ours. Its way to end after printing help stays as it is. */
export function toWrongCall(command: Command, error: CommanderError): Error {
  const name = pathOf(command)
  const named = (what: string) => (name === '' ? what : `"${name}" ${what}`)
  switch (error.code) {
    case 'commander.unknownCommand': {
      const there = `no command "${command.args[0]}".`
      return new WrongCall(command, name === '' ? `There is ${there}` : named(`has ${there}`))
    }
    case 'commander.unknownOption': {
      const [option = ''] = quotedIn(error).split('=')
      if (command.options.some(({ long, short }) => option === long || option === short)) {
        return new WrongCall(command, `Option ${option} takes no value.`)
      }
      return noOption(command, option)
    }
    case 'commander.optionMissingArgument':
      return missingValue(command, quotedIn(error))
    case 'commander.missingArgument':
      return wrongArguments(command)
    case 'commander.excessArguments':
      return wrongArguments(command, 'takes only')
    case 'commander.help':
    case 'commander.helpDisplayed':
      return error
    default:
      return new WrongCall(command, error.message)
  }
}

/** The complaint about an option that the command does not have. */
export function noOption(command: Command, option: string): WrongCall {
  const name = pathOf(command)
  return new WrongCall(command, name === '' ? `There is no option ${option}.` : `"${name}" has no option ${option}.`)
}

/** The complaint about arguments that are missing, empty or too many. */
export function wrongArguments(command: Command, needs = 'needs'): WrongCall {
  const names = command.registeredArguments.map((argument) => argument.name()).join(' ')
  return new WrongCall(command, `"${pathOf(command)}" ${names === '' ? 'takes no arguments' : `${needs} ${names}`}.`)
}

/** The complaint about an option without its value; `flags` as the option was declared: "--socket <PATH>". */
export function missingValue(command: Command, flags: string): WrongCall {
  const [option, value = ''] = flags.split(/ <|>/)
  return new WrongCall(command, `Option ${option} needs a ${value.toLowerCase()} after it.`)
}

/** Commander names the option only in its message. */
function quotedIn({ message }: CommanderError): string {
  return /'(.*)'/.exec(message)?.[1] ?? ''
}
