/**
 * Works through items with `width` pieces of work under way at a time. After a failure nothing new is begun; rejects with it when all
 * that was under way has ended, so that what the work used can be closed.
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
