/**
 * A program that starts a host, prints its server's pid and stays, so that a test can kill it: argv = state
 * directory.
 */
import { openRegistry, volumeRecord } from '../registry/records.ts'
import { eventually, serverPid, startHost } from './server.ts'

const host = await startHost({ stateDir: process.argv[2] ?? '' })
const registry = await openRegistry(host)
await eventually('a record is written', async () => (await registry.addVolume(volumeRecord('kept'))).outcome === 'done')
process.stdout.write(`${serverPid(host)}\n`)
setInterval(() => {}, 60_000)
