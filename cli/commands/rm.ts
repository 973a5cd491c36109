import type { Command } from 'commander'
import type { RemovalView } from '../../agent/api/contract.ts'
import { newCommand, printView, type Run } from '../command.ts'

export function rmCommand(run: Run): Command {
  return newCommand('rm', 'remove a volume from all hosts')
    .argument('<VOLUME>')
    .option('--force', 'also if services or containers refer to it: running containers are killed')
    .option('--accept-loss', 'also if its holder is lost, and with it what only the holder has')
    .action(
      run(async (call, volume: string, given: { force?: boolean; acceptLoss?: boolean }) => {
        const { force = false, acceptLoss = false } = given
        return printView(call, await call.agent.removeWith(volume, { force, acceptLoss }, call.signal), showRemoval)
      }),
    )
}

function showRemoval({ volume, id, references, lost }: RemovalView): string {
  const trash = `trash/${id}-* in its state directory`
  return [
    `Removed ${volume} (${id}). Each host moves its copy to ${trash} and keeps it there for the retention time.`,
    ...(references.length === 0 ? [] : ['It was referred to by:', ...references.map((line) => `  ${line}`)]),
    ...lost.map((host) => `Host ${host} was given up: when it returns, it moves its copy to set-aside/ instead.`),
  ].join('\n')
}
