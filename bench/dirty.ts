import { measureCheckpoints } from './checkpoint.ts'
import type { Load } from './checkpoint-report.ts'
import { measureDirtyCopies } from './dirty-copy.ts'
import { dirtyReport } from './dirty-report.ts'
import type { LabReport, LabSettings } from './lab-report.ts'

/** About 1.5 GB of tables: a turn of a minute leaves most of their pages untouched. */
const LOAD: Load = { pgbenchScale: 100, checkpointSeconds: 2 }

/**
 * What checkpoints cost where little of much changes: from one host to another without engines, and under a database
 * at full rate.
 */
export async function benchDirty(settings: LabSettings): Promise<LabReport> {
  settings.say('random pages in large files: Wherry, rsync --inplace, btrfs send')
  const copies = await measureDirtyCopies(settings)
  settings.say(`pgbench, scale ${LOAD.pgbenchScale}, checkpoints every ${LOAD.checkpointSeconds} s`)
  return dirtyReport(copies, LOAD, await measureCheckpoints(LOAD, settings))
}
