import type { LocalCopy, UseMarks } from '../contract.ts'

/** Nobody has looked at the containers of the uses there are, nor seen any of them end. */
export const NO_USE_MARKS: UseMarks = { unmountsMs: [], ground: null }

/** What the disk says of a volume's empty tree: never captured, never held. */
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
  }
}
