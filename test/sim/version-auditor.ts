import type { HostRecord } from '../../agent/model/model.ts'
import type { LocalCopy } from '../../agent/store/contract.ts'
import { lostFields } from '../fake/newer-version.ts'
import type { Commit } from './raft-group.ts'

/** Watches that no version loses what another one wrote. */
export class VersionAuditor {
  readonly #failed: (rule: string, text: string) => void

  constructor(failed: (rule: string, text: string) => void) {
    this.#failed = failed
  }

  committed({ group, key, before, value, writer }: Commit): void {
    if (before == null || value == null) return
    // A heartbeat says how its own host is now. Another host changes only who expired it.
    if (group === 'hosts' && (value as HostRecord).expiredBy === null) return
    this.#check(`${writer} wrote the record ${key} of ${group}`, before, value)
  }

  changed(host: string, before: LocalCopy, after: LocalCopy): void {
    this.#check(`the disk of ${host} changed its record of ${after.id}`, withoutUses(before), withoutUses(after))
  }

  #check(what: string, before: unknown, after: unknown): void {
    const lost = lostFields(before, after)
    if (lost.length > 0) this.#failed('versions', `${what} and lost what a newer version had put at ${lost.join(', ')}`)
  }
}

/** What is known of the present uses goes with them. */
function withoutUses({ uses: _, ...rest }: LocalCopy): Omit<LocalCopy, 'uses'> {
  return rest
}
