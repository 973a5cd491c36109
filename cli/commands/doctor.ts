import type { Command } from 'commander'
import { newCommand, printView, type Run } from '../command.ts'
import { type Finding, findTrouble, type Severity } from '../findings.ts'

/** Exit codes: an error was found; nothing worse than a warning was. */
const FOUND_ERROR = 1
const FOUND_WARNING = 3

export function doctorCommand(run: Run): Command {
  return newCommand('doctor', 'list what needs attention in the cluster, and what mends it').action(
    run(async (call) => {
      const { agent, signal } = call
      const [health, hosts, volumes] = await Promise.all([
        agent.health(signal),
        agent.hosts(signal),
        // Without a registry, an agent that has just started knows no volume; its health says why.
        agent.list(signal).catch(() => []),
      ])
      const findings = findTrouble({ health, hosts, volumes }, new Date())
      printView(call, findings, showFindings)
      const has = (severity: Severity) => findings.some((finding) => finding.severity === severity)
      return has('error') ? FOUND_ERROR : has('warning') ? FOUND_WARNING : 0
    }),
  )
}

function showFindings(findings: readonly Finding[]): string {
  if (findings.length === 0) return 'Nothing needs attention, as far as this host knows.'
  return findings
    .map(({ severity, about, text, mend }) => {
      const line = `${severity.padEnd(8)} ${about}: ${text}`
      return mend === '' ? line : `${line}\n${' '.repeat(9)}${mend}`
    })
    .join('\n')
}
