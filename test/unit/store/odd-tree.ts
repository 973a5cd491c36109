import { execFileSync } from 'node:child_process'

/** Builds, with the system's own tools, a tree that has one of everything Linux file systems can hold. */
const SCRIPT = `
set -eu
cd "$1"
mkdir -p plain/deep/er 'a' 'a-b' acl
printf hello > plain/hello
printf hello > plain/hello-again
: > plain/empty
head -c 3000000 /dev/urandom > plain/big
chmod 4755 plain/hello; chown 1000:1001 plain/hello-again; chmod 0000 plain/empty
chown 7:8 plain/big; chmod 6711 plain/big
printf x > a/x; printf y > a-b/y; printf z > a!
printf n > "$(printf 'new\\nline')"
printf b > "$(printf 'bytes\\377\\351')"
mkdir "$(printf 'dir\\376')"; printf in > "$(printf 'dir\\376/in\\200side')"
ln -s ../nowhere plain/dangling; ln -s "$(printf '/etc/\\377')" plain/odd-target; ln -s hello plain/to-hello
chown -h 1234:4321 plain/to-hello; touch -h -d '1999-01-02 03:04:05.678901234' plain/to-hello
ln plain/hello a/hard; ln plain/hello hard2; ln plain/dangling plain/dangling2
mkfifo -m 0640 fifo; mknod chr c 1 3; mknod blk b 259 300; chown 5:6 chr
chmod 0600 blk
ln fifo fifo-link
perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local => "sock", Listen => 1) or die'
truncate -s 50M sparse; printf mid | dd of=sparse bs=1 seek=20000000 conv=notrunc 2>/dev/null
truncate -s 1M all-hole
head -c 70000 /dev/zero > zeros
setfattr -n user.note -v "some value" plain/big; setfattr -n user.empty plain/big
setfattr -n trusted.secret -v 0x00ff10 plain/deep
setfattr -h -n trusted.onlink -v 1 plain/dangling
setfacl -m u:1000:rwx,g:55:r-x acl; setfacl -d -m u:1000:rx acl
printf acl > acl/file; mkdir acl/sub; setfacl -m u:77:r acl/file
cp /bin/true plain/capable; chown 12:13 plain/capable
setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 plain/capable
chmod 2775 plain; chmod 1777 a; chown 33:44 plain
touch -d '1960-05-05 05:05:05.123456789' plain/big
touch -d '2040-01-01 00:00:00.000000001' plain/empty
touch -d '1970-01-01 00:00:00.999999999' plain/deep/er
touch -d '2001-02-03 04:05:06.000000007' plain
chmod 0751 .; chown 99:98 .; setfattr -n user.root -v r .; touch -d '2011-11-11 11:11:11.111111111' .
`

export function buildOddTree(root: string): void {
  execFileSync('sh', ['-c', SCRIPT, 'sh', root], { stdio: ['ignore', 'ignore', 'inherit'] })
}
