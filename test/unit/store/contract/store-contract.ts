import test, { type ExecutionContext } from 'ava'
import { CAPTURE_RULES } from './capture-rules.ts'
import { COPY_RULES } from './copy-rules.ts'
import { type StoreSubject, StoreWork } from './store-kit.ts'

/** Holds one kind of store to the contract. */
export function testStore(kind: string, open: (t: ExecutionContext) => Promise<StoreSubject>): void {
  for (const [rule, check] of Object.entries({ ...COPY_RULES, ...CAPTURE_RULES })) {
    test(`${kind}: ${rule}`, async (t) => check(t, new StoreWork(await open(t))))
  }
}
