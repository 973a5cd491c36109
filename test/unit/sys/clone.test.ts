import { closeSync, fstatSync, openSync, readdirSync, readFileSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { cloneFile, countExtents, openUnnamed } from '../../../agent/sys/clone.ts'
import { FILE_SYSTEMS, fileSystem } from '../store/file-systems.ts'

const BYTES = 100_000

for (const kind of FILE_SYSTEMS) {
  test(`a clone has what the file had, or is refused by name, on ${kind}`, async (t) => {
    const root = fileSystem(t, kind)
    const path = join(root, 'file')
    writeFileSync(path, Buffer.alloc(BYTES, 'a'))
    const before = readdirSync(root)
    const [from, to] = [openSync(path, 'r'), openUnnamed(root)]
    if (kind === 'ext4') await t.throwsAsync(cloneFile(from, to), { code: 'SYSTEM_CALL_FAILED', message: /ENOTSUP/ })
    else {
      const { ctimeNs } = fstatSync(from, { bigint: true })
      await cloneFile(from, to)
      t.is(fstatSync(from, { bigint: true }).ctimeNs, ctimeNs)
      writeFileSync(path, 'b')
      t.deepEqual(readFileSync(`/proc/self/fd/${to}`), Buffer.alloc(BYTES, 'a'))
    }
    t.deepEqual(readdirSync(root), before)
    for (const fd of [from, to]) closeSync(fd)
  })

  test(`the pieces of a file are counted up to a bound, on ${kind}`, async (t) => {
    const fd = openSync(join(fileSystem(t, kind), 'file'), 'w')
    t.is(await countExtents(fd, 9), 0)
    for (let nth = 0; nth < 7; nth++) writeSync(fd, Buffer.alloc(4096, 'a'), 0, 4096, nth * 1_048_576)
    t.is(await countExtents(fd, 9), 7)
    t.is(await countExtents(fd, 3), 3)
    closeSync(fd)
  })
}
