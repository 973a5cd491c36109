import { setTimeout as sleep } from 'node:timers/promises'
import type { Command } from 'commander'
import type { DrainView } from '../../agent/api/contract.ts'
import { codeOf } from '../../agent/model/errors.ts'
import { type Call, newCommand, printView, type Run } from '../command.ts'
import { textTable } from '../table.ts'

/** How often the progress of a drain is asked for. */
const POLL_MS = 2_000

interface Given {
  readonly off?: boolean
  readonly wait: boolean
}

export function drainCommand(run: Run): Command {
  return newCommand('drain', 'move all copies away from this host, and return when they are gone')
    .option('--off', 'end the drain: the host may have copies again')
    .option('--no-wait', 'return at once')
    .action(run(drainHost))
}

/** Asks for the drain and waits until no copy is left. Stopping this command does not stop the drain. */
async function drainHost(call: Call, { off = false, wait }: Given): Promise<number> {
  const { agent, json, print, signal } = call
  let view: DrainView = await agent.drain({ on: !off }, signal)
  let shown = ''
  while (wait && !off && view.left.length > 0) {
    const now = showDrain(view)
    if (!json && now !== shown) print(now)
    shown = now
    await sleep(POLL_MS, undefined, { signal })
    view = await agent.drain({ on: true }, signal).catch((error: unknown) => ifPassing(error, view))
  }
  return printView(call, view, showDrain)
}

/** An agent or a registry that is away for a moment does not end the drain: the last view stays. */
function ifPassing(error: unknown, view: DrainView): DrainView {
  if (codeOf(error) === 'AGENT_UNAVAILABLE' || codeOf(error) === 'REGISTRY_UNAVAILABLE') return view
  throw error
}

function showDrain({ host, draining, left }: DrainView): string {
  if (!draining) return `Host ${host} may have copies.`
  if (left.length === 0) return `Host ${host} has no copies left.`
  const rows = left.map(({ volume, why }) => [volume, why])
  return `Host ${host} is being drained. Still here:\n${textTable(['VOLUME', 'WHY'], rows)}`
}
