import { execFileSync } from 'node:child_process'

/**
 * Describes a tree with the system's own tools (find, stat, getfattr, sha256sum) and nothing of the store: path, kind,
 * mode, owner, ns mtime, size, symlink target, device, hard-link partners, xattrs, content. Names stay bytes (latin1).
 */
export function describeTree(root: string): string[] {
  const facts = new Map<string, string>()
  const partners = new Map<string, string[]>()
  const inodes = new Map<string, string>()
  const found = run('find', ['.', '-printf', '%p\\0%y %m %U %G %T@ %n\\0%s\\0%l\\0%i\\0'], root).split('\0')
  for (let i = 0; i + 4 < found.length; i += 5) {
    const [path = '', what = '', size, target, inode = ''] = found.slice(i, i + 5)
    // A directory's size and link count are the file system's business.
    const isDirectory = what.startsWith('d')
    facts.set(path, isDirectory ? what.replace(/ \d+$/, '') : `${what} size=${size} -> ${target}`)
    if (isDirectory) continue
    inodes.set(path, inode)
    partners.set(inode, [...(partners.get(inode) ?? []), path])
  }
  for (const [path, inode] of inodes) add(facts, path, `links=${JSON.stringify(partners.get(inode)?.sort())}`)
  pairs(run('find', ['.', '-type', 'f', '-exec', 'sha256sum', '-z', '{}', '+'], root), /^(\S+) {2}([\s\S]*)$/, facts)
  pairs(
    run(
      'find',
      ['.', '(', '-type', 'c', '-o', '-type', 'b', ')', '-exec', 'stat', '--printf', '%t:%T  %n\\0', '{}', '+'],
      root,
    ),
    /^(\S+) {2}([\s\S]*)$/,
    facts,
  )
  for (const path of facts.keys()) {
    const list = run(
      'getfattr',
      ['-h', '-d', '-m', '-', '-e', 'hex', '--absolute-names', '--', Buffer.from(path, 'latin1')],
      root,
    )
    const values = list.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
    if (values.length > 0) add(facts, path, values.sort().join(' '))
  }
  return [...facts].map(([path, fact]) => `${JSON.stringify(path)} ${fact}`).sort()
}

/** Bytes on the disk under `root`. */
export function allocatedBytes(root: string): number {
  return Number(run('du', ['-s', '-B1', '.'], root).split('\t')[0])
}

function add(facts: Map<string, string>, path: string, fact: string): void {
  facts.set(path, `${facts.get(path)} ${fact}`)
}

function pairs(text: string, form: RegExp, facts: Map<string, string>): void {
  for (const item of text.split('\0')) {
    const match = form.exec(item)
    if (match?.[1] !== undefined && match[2] !== undefined) add(facts, match[2], match[1])
  }
}

function run(command: string, args: (string | Buffer)[], cwd: string): string {
  // execFile takes strings only and writes them as UTF-8: names that are not UTF-8 go through xargs as bytes.
  const bytes = Buffer.concat(args.map((arg) => Buffer.concat([Buffer.from(arg as Buffer), Buffer.alloc(1)])))
  return execFileSync('xargs', ['-0', command], { cwd, input: bytes, encoding: 'latin1', maxBuffer: 1 << 28 })
}
