import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import test from 'ava'
import { calm, captureCheckpoint, newVolume, storeHost, temporaryDirectory } from './fixture.ts'

/** What the page tells the operator to type, a command a line. */
const COMMANDS = [...readPage().matchAll(/^ {3}```sh\n(.*?)^ {3}```$/gms)]
  .flatMap(([, block = '']) => block.replace(/\\\n\s*/g, '').split('\n'))
  .map((line) => line.trim())

function readPage(): string {
  return readFileSync(new URL('../../../docs/removal.md', import.meta.url), 'utf8')
}

function command(start: string): string {
  const found = COMMANDS.find((line) => line.startsWith(start))
  if (found === undefined) throw new Error(`docs/removal.md has no command ${start}`)
  return found
}

for (const where of ['trash', 'set-aside'] as const) {
  test(`what docs/removal.md says to type finds and brings back a tree that the store moved to ${where}`, async (t) => {
    const { store, data, stateDir } = await storeHost(t)
    const one = newVolume()
    await store.create(one)
    mkdirSync(join(data(one.id), 'below'), { mode: 0o750 })
    writeFileSync(join(data(one.id), 'below', 'file'), 'what was in it', { mode: 0o640 })
    const before = listing(data(one.id))
    const at = captureCheckpoint(await store.capture(one.id, 'quiet', calm))
    await store.update(one.id, { checkpoint: at })
    if (where === 'trash') await store.trash(one.id)
    else await store.setAside(one.id)
    const type = (line: string) => {
      const here = line.replaceAll('/var/lib/wherry', stateDir)
      return execFileSync('sh', ['-c', `${here} 2>/dev/null || true`], { encoding: 'utf8' }).trim()
    }
    const record = type(command('grep -l'))
    t.regex(record, new RegExp(`^${stateDir}/${where}/[^/]*${one.id}-\\d+/volume\\.json$`))
    const shown = type(command('grep -E').replace(/\S+$/, record))
    t.regex(shown, new RegExp(`"seq": ${at.seq},\\s+"at": "${at.at}",\\s+"applying": false`))
    const kept = join(stateDir, where, 'kept-data')
    type(command('mv').replace(/ \S+ \S+$/, ` ${dirname(record)} ${kept}`))
    for (const uptimeMs of [1_000, 1e9]) await store.emptyTrash(uptimeMs)
    t.true(existsSync(kept), 'it is not emptied with the trash')
    const volumeNow = await temporaryDirectory(t)
    const [, copy = ''] = command('docker run').split(' debian ')
    type(copy.replace('/from/', `${kept}/data/`).replace('/to/', `${volumeNow}/`))
    t.deepEqual(listing(volumeNow), before)
  })
}

/** Everything about a tree that a copy must keep. */
function listing(path: string): string {
  return execFileSync('sh', ['-c', 'find . -printf "%p %m %u %g %s %T@\\n" | sort; cat below/file'], {
    cwd: path,
    encoding: 'utf8',
  })
}
