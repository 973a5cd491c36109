/**
 * Works on one volume after another: a failure keeps no other volume waiting.
 * Rejects with the first failure once all were tried.
 */
export async function forEachVolume<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const failures: unknown[] = []
  for (const item of items) await work(item).catch((error: unknown) => failures.push(error))
  if (failures.length > 0) throw failures[0]
}
