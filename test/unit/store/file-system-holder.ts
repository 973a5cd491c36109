/** Makes a file system as a test does, says where, and waits to be killed. */
import { fileSystem } from './file-systems.ts'

const killed = { teardown: () => {} }
process.stdout.write(`${fileSystem(killed, 'ext4')}\n`)
setInterval(() => {}, 60_000)
