import { groupSmallFiles } from '../manifest/file-groups.ts'
import type { Want } from '../tree-contract.ts'
import { freshFile, type SurveyParts } from './inspect-stage.ts'
import { wantedRuns } from './requested-runs.ts'
import type { StagedState } from './staged-state.ts'
import type { LargeFiles } from './write-large-files.ts'

/** Indexes of large files whose lists are not here. */
export function* wantedLists(state: StagedState, parts: SurveyParts): Generator<number> {
  for (const index of state.large()) if (!parts.lists.has(state.target.file(index).hash)) yield index
}

/**
 * All data that has to come: small files by directory, then blocks, each in tree order. For each want of blocks the file is entered once, the taker
 * leaves it. To be called when all that can be known is known.
 */
export function* wantedData(state: StagedState, parts: SurveyParts, files: LargeFiles): Generator<Want> {
  for (const indexes of groupSmallFiles(state.target, state.smallMissing())) {
    const bytes = indexes.reduce((sum, index) => sum + state.target.file(index).sizeBytes, 0)
    yield { kind: 'files', indexes, bytes }
  }
  for (const index of state.large()) {
    if (state.complete.has(index)) continue
    const list = parts.lists.read(state.target.file(index).hash)
    // Damaged on this disk: the file stays incomplete, the next attempt asks for its list again.
    if (list === null) continue
    const file = state.files.get(index) ?? freshFile(state, index, list, null)
    files.enter(file, list)
    try {
      for (const run of wantedRuns(file, list, parts.zeros)) {
        files.again(index)
        const end = Math.min((run.first + run.count) * file.blockBytes, file.sizeBytes)
        yield { kind: 'blocks', run, bytes: end - run.first * file.blockBytes }
      }
    } finally {
      files.leave(index)
    }
  }
}
