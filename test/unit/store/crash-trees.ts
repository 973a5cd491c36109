import { execFileSync } from 'node:child_process'
import { buildOddTree } from './odd-tree.ts'

/** Flags are no part of what `cp -a` copies: they are set again on each copy of the tree. */
const OLD_FLAGS = `
chattr +i flagged/untouched flagged/edited flagged/gone flagged/linked
chattr +a flagged/appended; chattr +d flagged/nodump nodump
chattr +i flagged/closed flagged/still
`
const NEW_FLAGS = `
chattr +i flagged/untouched flagged/edited flagged/linked fresh/one/locked-file
chattr +a flagged/appended; chattr +d nodump
chattr +i flagged/still flagged/closed; chattr +a fresh/one/two/locked
`

const OLD = `
set -eu
mkdir big flagged flagged/closed flagged/still nodump old-name old-name/sub
for name in middle grown shrunk rewritten; do head -c 2000000 /dev/urandom > big/$name; done
truncate -s 40M big/sparse; head -c 200000 /dev/urandom | dd of=big/sparse bs=1M seek=9 conv=notrunc 2>/dev/null
for name in untouched edited gone linked appended nodump closed/a closed/b still/c; do echo $name > flagged/$name; done
ln flagged/linked linked-too
for name in a b sub/c; do head -c 100000 /dev/urandom > old-name/$name; done
echo inside > nodump/file
${OLD_FLAGS}
`

const NEW = `
set -eu
rm -r a; printf 'directory became file' > a
rm zeros; mkdir zeros; for name in inside twice thrice; do echo 'file became directory' > zeros/$name; done
mv plain/big plain/deep/moved
rm hard2; printf hello > hard2
printf more >> acl/file
chown 3:4 plain/hello; chmod 4711 plain/hello
rm fifo; ln -s x fifo; chmod 700 .
dd if=/dev/urandom of=big/middle bs=1000 seek=900 count=3 conv=notrunc 2>/dev/null
head -c 300000 /dev/urandom >> big/grown
truncate -s 1000003 big/shrunk
head -c 2000000 /dev/urandom > big/rewritten; setfattr -n user.mark -v new big/rewritten; chmod 4755 big/rewritten
fallocate -p -o 9500000 -l 90000 big/sparse; printf page | dd of=big/sparse bs=1 seek=30000000 conv=notrunc 2>/dev/null
mv old-name new-name; mv new-name/sub/c new-name/d
mkdir -p fresh/one/two/locked fresh/one/empty fresh/none/at-all
for name in file one/file one/locked-file one/two/file one/two/locked/file; do echo $name > fresh/$name; done
head -c 400000 /dev/urandom > fresh/one/two/large
ln fresh/one/file fresh/one/two/linked; ln plain/hello fresh/one/old-file
ln -s ../file fresh/one/symlink; mkfifo fresh/one/two/fifo
chown 9:9 fresh/one; chmod 2775 fresh/one/two; setfacl -d -m u:1000:rwx fresh/one
touch -d '2002-02-02 02:02:02.2' fresh/one/empty
rm flagged/gone; echo more >> flagged/edited; echo more >> flagged/appended
rm flagged/closed/a; echo c > flagged/closed/c
mkdir nodump/made; echo deep > nodump/made/file; rm linked-too; ln flagged/edited linked-too
${NEW_FLAGS}
`

function run(script: string, cwd: string): void {
  execFileSync('sh', ['-c', script], { cwd, stdio: ['ignore', 'ignore', 'inherit'] })
}

/** A tree of every kind, with large files and with flags. */
export function buildOld(data: string): void {
  buildOddTree(data)
  run(OLD, data)
}

/** Sets the flags of the old tree on a copy of it. */
export function flagOld(data: string): void {
  run(OLD_FLAGS, data)
}

/** Makes of the old tree one that differs from it in every way. */
export function buildNew(data: string): void {
  run('chattr -R -f -i -a . 2>/dev/null || true', data)
  run(NEW, data)
}
