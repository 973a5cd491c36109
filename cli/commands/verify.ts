import type { Command } from 'commander'
import type { VerifyView } from '../../agent/api/contract.ts'
import { formatSize } from '../../agent/api/format.ts'
import { newCommand, printView, type Run } from '../command.ts'

export function verifyCommand(run: Run): Command {
  return newCommand('verify', "compare this host's copy of an idle volume with its checkpoint; exit code 1: damaged")
    .argument('<VOLUME>')
    .action(
      run(async (call, volume: string) => {
        const view = await call.agent.verify(volume, call.signal)
        printView(call, view, showVerification)
        return view.damagedCount === 0 ? 0 : 1
      }),
    )
}

/** Prints what is damaged, a line each, and what happens next. */
function showVerification(view: VerifyView): string {
  const { volume, host, checkpoint, filesChecked, bytesRead, damaged, damagedCount, repairing } = view
  const copy = `The copy of volume "${volume}" on ${host}`
  const at = `checkpoint ${checkpoint.epoch}.${checkpoint.seq}`
  if (damagedCount === 0) return `${copy} matches ${at}: ${filesChecked} files, ${formatSize(bytesRead)} read.`
  const rest = damagedCount - damaged.length
  const next = repairing
    ? 'The damaged parts are being fetched from another host.'
    : 'No other host has that checkpoint: see COPY_DAMAGED in docs/errors.md.'
  return [
    `${copy} does not match ${at}:`,
    ...damaged.map(describeDamage),
    ...(rest > 0 ? [`  and ${rest} more`] : []),
    next,
  ].join('\n')
}

function describeDamage({ path, reason, detail, blocks }: VerifyView['damaged'][number]): string {
  return `  ${path}: ${reason}${blocks > 0 ? `, ${blocks} blocks` : ''}${detail === null ? '' : ` (${detail})`}`
}
