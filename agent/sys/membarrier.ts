import { setTimeout as sleep } from 'node:timers/promises'
import { errnoOf } from './failure.ts'
import { callAsync } from './libc.ts'

/** asm/unistd.h; every other architecture that Node supports has 283 (asm-generic/unistd.h). */
const SYS_MEMBARRIER = process.arch === 'x64' ? 324n : 283n
const MEMBARRIER_CMD_GLOBAL = 1n
/**
 * Used where the kernel cannot do it (nohz_full): longer than a host keeps a virtual machine's processor from
 * running.
 */
const INSTEAD_MS = 100

/**
 * Waits until every processor has left any section with interrupts or preemption off that it was in at the call.
 * That is an RCU grace period (membarrier(2), kernel/sched/membarrier.c: synchronize_rcu). Takes 10 to 20 ms.
 */
export async function settleProcessors(): Promise<void> {
  try {
    await callAsync('syscall', 'membarrier', SYS_MEMBARRIER, MEMBARRIER_CMD_GLOBAL, null, 0n, null, 0n)
  } catch (error) {
    if (errnoOf(error) !== 'EINVAL' && errnoOf(error) !== 'ENOSYS') throw error
    await sleep(INSTEAD_MS)
  }
}
