import type { Command } from 'commander'
import { newCommand, type Run } from '../command.ts'

export function metricsCommand(run: Run): Command {
  return newCommand('metrics', "print this host's metrics in Prometheus' text format").action(
    run(async ({ agent, print, signal }) => {
      print((await agent.metrics(signal)).trimEnd())
      return 0
    }),
  )
}
