import type { Command } from 'commander'
import type { MoveView } from '../../agent/api/contract.ts'
import { formatProgress } from '../../agent/api/format.ts'
import { newCommand, printView, type Run } from '../command.ts'
import { textTable } from '../table.ts'

export function movesCommand(run: Run): Command {
  return newCommand('moves', 'list the copies that come to this host now, and the last that ended').action(
    run(async (call) => printView(call, await call.agent.moves(call.signal), showMoves)),
  )
}

function showMoves(moves: readonly MoveView[]): string {
  if (moves.length === 0) return 'No copy is on its way to this host, and none has ended since its agent started.'
  const rows = moves.map((move) => [
    move.volume,
    move.from,
    move.to,
    move.state,
    formatProgress(move),
    move.seconds.toFixed(1),
    move.error ?? (move.secondsLeft === null ? '' : `about ${Math.ceil(move.secondsLeft)} s left`),
  ])
  return textTable(['VOLUME', 'FROM', 'TO', 'STATE', 'DONE', 'SECONDS', ''], rows)
}
