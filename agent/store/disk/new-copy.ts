import type { LocalCopy, UseMarks } from '../contract.ts'

/** Nothing is known of the containers of the present uses, nor of their ends. */
export const NO_USE_MARKS: UseMarks = { unmountsMs: [], ground: null }

/** Returns the record of a volume's empty tree: never captured, never held. */
export function bareCopy({ id, name, options }: Pick<LocalCopy, 'id' | 'name' | 'options'>): LocalCopy {
  return {
    id,
    name,
    options,
    checkpoint: null,
    held: null,
    applying: false,
    damaged: null,
    epochSeen: 0,
    diverged: [],
    mounts: {},
    uses: NO_USE_MARKS,
    recordSeen: null,
  }
}
