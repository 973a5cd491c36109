/**
 * Two hosts' stores and a volume whose tree is there already: `deep-host.ts BASE ID CHANGED_LEVEL`.
 * Brings the volume from one to the other, has it changed, brings it again, verifies it and removes it. Prints a line
 * of JSON for each step. To be run with few open files allowed.
 */
import { execFileSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { openStore } from '../../../agent/store/store.ts'
import { calm, move, silentLog, VOLUME_OPTIONS } from './fixture.ts'

const DEEP_TREE = new URL('../../fixtures/deep-tree.py', import.meta.url).pathname
const [base = '', id = '', changedLevel = ''] = process.argv.slice(2)
const volume = { id, name: 'data', options: VOLUME_OPTIONS }

function open(name: string) {
  const stateDir = join(base, name)
  return openStore({
    stateDir,
    mountRoot: join(stateDir, 'mnt'),
    trashRetentionMs: 1,
    log: silentLog,
    faultPoint: () => {},
  })
}

function say(step: string, is: object = {}): void {
  console.log(JSON.stringify({ step, ...is }))
}

function treeOf(name: string): string {
  return join(base, name, 'volumes', id, 'data')
}

function read(name: string): string {
  return execFileSync('python3', [DEEP_TREE, 'read', treeOf(name)], { encoding: 'utf8' }).trim()
}

await using one = await open('one')
await using two = await open('two')
const first = await move(one, two, volume)
say('moved', { complete: first.complete, tree: read('two') })
execFileSync('python3', [DEEP_TREE, 'change', treeOf('one'), changedLevel])
await one.update(id, { held: { epoch: 1, incarnation: 'test' } })
await one.spoolRound(id, calm)
await one.update(id, { held: null })
const second = await move(one, two, volume, 2)
say('moved again', { complete: second.complete, filesRead: second.filesRead, tree: read('two') })
const { damagedCount, filesChecked } = await two.verify(id, calm)
say('verified', { damagedCount, filesChecked })
const again = await two.capture(id, 'quiet', calm)
say('captured', { same: again.hash === second.hash, filesRead: again.filesRead })
await two.trash(id)
await two.emptyTrash(1_000)
await two.emptyTrash(61_000)
say('removed', { left: readdirSync(join(base, 'two', 'trash')) })
