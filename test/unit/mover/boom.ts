/**
 * Imported before an agent's own code: its other thread throws where nobody catches as soon as the file $BOOM is
 * there.
 */
import { existsSync } from 'node:fs'
import { isMainThread } from 'node:worker_threads'

const { BOOM } = process.env
if (!isMainThread && BOOM !== undefined) {
  setInterval(() => {
    if (existsSync(BOOM)) throw new Error('a bug nobody caught')
  }, 50)
}
