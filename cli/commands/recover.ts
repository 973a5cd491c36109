import type { Command } from 'commander'
import type { RecoverView } from '../../agent/api/contract.ts'
import { newCommand, printView, type Run } from '../command.ts'

export function recoverCommand(run: Run): Command {
  return newCommand('recover', 'rebuild the records of a lost registry from the disks of all hosts').action(
    run(async (call) => {
      const view = await call.agent.recover(call.signal)
      printView(call, view, showRecovery)
      return view.problems.length === 0 ? 0 : 1
    }),
  )
}

function showRecovery({ written, kept, problems }: RecoverView): string {
  return [
    written.length === 0 ? 'No record was written.' : `Records written: ${written.join(', ')}.`,
    ...(kept.length === 0 ? [] : [`Left as they are, not older than the disks: ${kept.join(', ')}.`]),
    ...problems.map((problem) => `Problem: ${problem}`),
  ].join('\n')
}
