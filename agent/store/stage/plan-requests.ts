import { groupSmallFiles } from '../manifest/file-groups.ts'
import type { BlockRequest } from '../tree-contract.ts'
import { freshFile, type StageInspectionParts } from './inspect-stage.ts'
import { requestedRuns } from './requested-runs.ts'
import type { StagedState } from './staged-state.ts'
import type { LargeFileWriter } from './write-large-files.ts'

/** Returns the indexes of large files whose lists are not here. */
export function* requestedLists(state: StagedState, parts: StageInspectionParts): Generator<number> {
  for (const index of state.large()) if (!parts.lists.has(state.target.file(index).hash)) yield index
}

/**
 * Returns requests for all missing data: small files by directory, then blocks, each in tree order.
 * For each request of blocks the file is entered once; the receiver of the response leaves it.
 * Call it when all local sources have been used.
 */
export function* requestedData(
  state: StagedState,
  parts: StageInspectionParts,
  files: LargeFileWriter,
): Generator<BlockRequest> {
  for (const indexes of groupSmallFiles(state.target, state.smallMissing())) {
    const bytes = indexes.reduce((sum, index) => sum + state.target.file(index).sizeBytes, 0)
    yield { kind: 'files', indexes, bytes }
  }
  for (const index of state.large()) {
    if (state.complete.has(index)) continue
    const list = parts.lists.read(state.target.file(index).hash)
    // Damaged on this disk: the file stays incomplete, and the next attempt requests its list again.
    if (list === null) continue
    const file = state.files.get(index) ?? freshFile(state, index, list, null)
    files.enter(file, list)
    try {
      for (const run of requestedRuns(file, list, parts.zeros)) {
        files.again(index)
        const end = Math.min((run.first + run.count) * file.blockBytes, file.sizeBytes)
        yield { kind: 'blocks', run, bytes: end - run.first * file.blockBytes }
      }
    } finally {
      files.leave(index)
    }
  }
}
