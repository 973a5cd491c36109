import type { Command } from 'commander'
import { newCommand, printView, type Run } from '../command.ts'
import { showVolume } from '../volume-text.ts'

export function inspectCommand(run: Run): Command {
  return newCommand('inspect', 'show everything about one volume')
    .argument('<VOLUME>')
    .action(
      run(async (call, volume: string) =>
        printView(call, await call.agent.get(volume, call.signal), (view) => showVolume(view, new Date())),
      ),
    )
}
