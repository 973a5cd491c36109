import { createHash } from 'node:crypto'
import { lstat, readdir, readFile, readlink } from 'node:fs/promises'

/**
 * A plain listing of a tree, one line an entry: name bytes, kind, mode, owner, nanosecond mtime, size, content hash.
 * Written apart from the product's code on purpose: it is what moved trees are compared by.
 */
export async function listTree(directory: string): Promise<string[]> {
  const lines: string[] = []
  const visit = async (path: Buffer, shown: string): Promise<void> => {
    const stat = await lstat(path, { bigint: true })
    let content = ''
    if (stat.isSymbolicLink()) content = (await readlink(path, { encoding: 'buffer' })).toString('hex')
    if (stat.isFile())
      content = createHash('sha256')
        .update(await readFile(path))
        .digest('hex')
    const size = stat.isDirectory() ? '' : stat.size
    lines.push(`${shown} ${stat.mode.toString(8)} ${stat.uid}:${stat.gid} ${stat.mtimeNs} ${size} ${content}`)
    if (!stat.isDirectory()) return
    const names = await readdir(path, { encoding: 'buffer' })
    names.sort(Buffer.compare)
    for (const name of names)
      await visit(Buffer.concat([path, Buffer.from('/'), name]), `${shown}/${name.toString('latin1')}`)
  }
  await visit(Buffer.from(directory), '.')
  return lines
}
