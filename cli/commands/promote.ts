import type { Command } from 'commander'
import { newCommand, printView, type Run } from '../command.ts'
import { showVolume } from '../volume-text.ts'

export function promoteCommand(run: Run): Command {
  return newCommand('promote', 'free a volume from a holder that is lost or cannot release it')
    .argument('<VOLUME>')
    .option('--accept-loss', 'also without data that only the holder has')
    .action(
      run(async (call, volume: string, { acceptLoss = false }: { acceptLoss?: boolean }) => {
        const promoted = await call.agent.promote(volume, { acceptLoss }, call.signal)
        return printView(call, promoted, (view) => `${view.summary}\n\n${showVolume(view, new Date())}`)
      }),
    )
}
