import type { LocalCopy } from '../contract.ts'

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
    uses: { unmountsMs: [], ground: null },
  }
}
