import type { Command, Option } from 'commander'

/** The column at which descriptions begin. */
const INDENT = 34

/** The full name of a command without the program's: "rm", or "trash ls" of a nested one. */
export function pathOf(command: Command): string {
  const { parent } = command
  if (parent === null) return ''
  return `${pathOf(parent)} ${command.name()}`.trim()
}

/** Prints how a command is called: the whole program with all commands, or one command with its options. */
export function formatHelp(command: Command): string {
  const leaves = leavesOf(command)
  const common = command.options.filter(isCommon).map(describeOption)
  if (leaves.length > 0) {
    const group = pathOf(command)
    const own = leaves.map((leaf) => inColumns(callOf(leaf), leaf.summary()))
    const usage = `Usage: ${['wherry', group, 'COMMAND [OPTION ...]'].filter(Boolean).join(' ')}`
    const more = 'wherry COMMAND --help explains the options of a command.'
    return `${[usage, own.join('\n'), common.join('\n'), more].filter(Boolean).join('\n\n')}\n`
  }
  const own = command.options.filter((option) => !isCommon(option)).map(describeOption)
  const usage = ['Usage: wherry', callOf(command), ...command.options.filter(isCommon).map(showOption)].join(' ')
  return `${usage}\n\n  ${command.summary()}\n\n${[...own, ...common].join('\n')}\n`
}

/** All commands below one that can be called. */
function leavesOf(command: Command): readonly Command[] {
  return command.commands.flatMap((child) => (child.commands.length === 0 ? [child] : leavesOf(child)))
}

/** A command with its arguments and its own options. */
function callOf(command: Command): string {
  const names = command.registeredArguments.map((argument) => argument.name())
  const own = command.options.filter((option) => !isCommon(option)).map(showOption)
  return [pathOf(command), ...names, ...own].join(' ')
}

function isCommon({ long }: Option): boolean {
  return long === '--json' || long === '--socket'
}

function showOption({ flags }: Option): string {
  return `[${withoutBrackets(flags)}]`
}

function describeOption({ flags, description }: Option): string {
  return inColumns(withoutBrackets(flags), description, 18)
}

function inColumns(head: string, text: string, indent = INDENT): string {
  const begin = `  ${head}`
  return begin.length + 1 < indent ? `${begin.padEnd(indent)}${text}` : `${begin}\n${' '.repeat(indent)}${text}`
}

function withoutBrackets(flags: string): string {
  return flags.replaceAll(/[<>]/g, '')
}
