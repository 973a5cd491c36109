/**
 * Runs `work` for each item, at most `width` at a time.
 * After a failure it starts nothing new. It rejects once everything that was running has ended, so that the resources
 * of the work can be closed.
 */
export async function forEachLimit<T>(
  items: Iterable<T>,
  width: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const iterator = items[Symbol.iterator]()
  const failures: unknown[] = []
  const member = async (): Promise<void> => {
    while (failures.length === 0) {
      const { done, value } = iterator.next()
      if (done === true) return
      await work(value)
    }
  }
  const caught = (error: unknown) => failures.push(error)
  await Promise.all(Array.from({ length: width }, () => member().catch(caught)))
  if (failures.length > 0) throw failures[0]
}
