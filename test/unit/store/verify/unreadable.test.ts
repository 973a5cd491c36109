import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { Mirror } from '../../../../agent/store/inode/mirror.ts'
import { compareContent, Findings } from '../../../../agent/store/verify/verify.ts'
import { SystemCallError } from '../../../../agent/sys/failure.ts'
import { calm } from '../fixture.ts'
import { captured } from '../scan/captured.ts'

const BLOCK_BYTES = 16 * 1024

for (const errno of ['EIO', 'EUCLEAN', 'EBADMSG']) {
  test(`what a disk answers with ${errno} for is damaged, and the rest is compared all the same`, async (t) => {
    const tree = await captured(t)
    for (const name of ['a', 'b']) writeFileSync(join(tree.data, name), Buffer.alloc(10 * BLOCK_BYTES, name))
    const { manifest, lists } = await tree.capture('quiet')
    const [a, b] = [manifest.find('a'), manifest.find('b')]
    const failed = () => new SystemCallError('read', 'it', errno)
    const bad = tree.poolWith({
      hashBlocks: async (fd, sizeBytes, first, count) => {
        if (first <= 3 && first + count > 3) throw failed()
        return await tree.pool.hashBlocks(fd, sizeBytes, first, count)
      },
    })
    const blocks = new Findings()
    const parts = { tree: new Mirror(tree.data), manifest, lists, signal: calm }
    await compareContent({ ...parts, pool: bad }, [a, b], blocks)
    t.deepEqual(blocks.damaged, [
      { path: '"a"', reason: 'unreadable', detail: null, blocks: 1 },
      { path: '"b"', reason: 'unreadable', detail: null, blocks: 1 },
    ])
    const inode = new Mirror(tree.data)
    const open = inode.within.bind(inode)
    inode.within = (of, index, work) => {
      if (index === a) throw failed()
      return open(of, index, work)
    }
    const files = new Findings()
    await compareContent({ ...parts, tree: inode, pool: tree.pool }, [a, b], files)
    t.deepEqual(files.damaged, [{ path: '"a"', reason: 'unreadable', detail: null, blocks: 10 }])
    t.is(files.filesChecked, 2)
  })
}
