import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { openTracker } from '../../../../agent/store/tracker/tracker.ts'

/**
 * Holds a tracker until it is killed: holder.ts ROOT OBJECT DIRECTORY. Prints a word when it watches the directory's
 * files.
 */
const [root = '', object = '', directory = ''] = process.argv.slice(2)
const opened = openTracker(root, object)
if ('reason' in opened) throw new Error(opened.reason)
const inodes = readdirSync(directory).map((name) => statSync(join(directory, name), { bigint: true }).ino)
opened.tracker.watch('volume', inodes)
opened.tracker.cut()
console.log('watching')
for (;;) {
  await sleep(5)
  opened.tracker.cut()
}
