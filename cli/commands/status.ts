import type { Command } from 'commander'
import type { Health } from '../../agent/api/contract.ts'
import { newCommand, printView, type Run } from '../command.ts'
import { textTable } from '../table.ts'

export function statusCommand(run: Run): Command {
  return newCommand('status', 'show whether this host is ready: registry, engine, disk; exit code 1: it is not').action(
    run(async (call) => {
      const health = await call.agent.health(call.signal)
      printView(call, health, showHealth)
      return health.ready ? 0 : 1
    }),
  )
}

function showHealth({ ready, registry, engine, state, lease, fenced, notes, version }: Health): string {
  const rows: readonly (readonly [string, string])[] = [
    ['ready', ready ? 'yes' : 'no'],
    ['registry', describeRegistry(registry)],
    ['engine', engine.reachable ? 'replies' : `does not reply: ${engine.detail}`],
    ['disk', state.writable ? 'writable' : `cannot be written: ${state.detail}`],
    ['lease', lease.secondsLeft > 0 ? 'runs' : 'expired'],
    ...(fenced.length === 0 ? [] : [['paused', `${fenced.length} containers, until the lease runs again`] as const]),
    ['version', version],
    ...notes.map((note) => ['note', note] as const),
  ]
  return textTable(['', ''], rows).trimStart()
}

function describeRegistry({ available, detail, since, waitsForHosts }: Health['registry']): string {
  if (available) return 'replies'
  const what = waitsForHosts === true ? 'waits for other hosts' : 'does not reply'
  return `${what}, since ${since ?? 'the start'}: ${detail}`
}
