import type { Command } from 'commander'
import { newCommand, type Run } from './command.ts'
import { doctorCommand } from './commands/doctor.ts'
import { drainCommand } from './commands/drain.ts'
import { hostsCommand } from './commands/hosts.ts'
import { inspectCommand } from './commands/inspect.ts'
import { lsCommand } from './commands/ls.ts'
import { metricsCommand } from './commands/metrics.ts'
import { movesCommand } from './commands/moves.ts'
import { promoteCommand } from './commands/promote.ts'
import { recoverCommand } from './commands/recover.ts'
import { rmCommand } from './commands/rm.ts'
import { statusCommand } from './commands/status.ts'
import { verifyCommand } from './commands/verify.ts'

/** Every command, in the order of the help. A nested one comes in a group: newGroup('trash', ...).addCommand(...). */
const COMMANDS = [
  lsCommand,
  inspectCommand,
  hostsCommand,
  movesCommand,
  statusCommand,
  doctorCommand,
  promoteCommand,
  rmCommand,
  verifyCommand,
  drainCommand,
  metricsCommand,
  recoverCommand,
]

/** Creates the `wherry` command with all its commands. */
export function createProgram(run: Run): Command {
  const program = newCommand('wherry', "asks this host's agent over its socket and prints the reply")
  for (const create of COMMANDS) program.addCommand(create(run))
  return program
}
