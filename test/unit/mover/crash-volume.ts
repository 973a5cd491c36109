import { execFileSync } from 'node:child_process'

const OLD = `
set -eu
mkdir many sub sub/deep gone
for n in $(seq 60); do head -c $((n * 150)) /dev/urandom > many/f$n; done
for n in $(seq 20); do echo $n > gone/f$n; done
head -c 6000000 /dev/urandom > large; setfattr -n user.mark -v old large
ln many/f1 sub/linked; ln -s ../many/f2 sub/symlink; mkfifo sub/pipe
chown 7:8 sub/deep; chmod 2750 sub/deep; touch -d '2001-01-01 01:01:01.000000001' sub/deep
`

const NEW = `
set -eu
for n in $(seq 2 2 60); do head -c $((n * 160)) /dev/urandom > many/f$n; done
for at in 10 400 700; do head -c 3000 /dev/urandom | dd of=large bs=5000 seek=$at conv=notrunc 2>/dev/null; done
head -c 100000 /dev/urandom >> large; setfattr -n user.mark -v new large
mkdir -p fresh/one/two; head -c 9000000 /dev/urandom > fresh/one/large
for n in $(seq 40); do head -c $((n * 100)) /dev/urandom > fresh/one/two/f$n; done
rm -r gone; echo 'a file where a directory was' > gone
ln -sfn ../fresh sub/symlink; rm sub/linked; ln many/f3 sub/linked; ln fresh/one/two/f1 fresh/linked
chown 9:9 many/f5; chmod 4711 many/f7; rm sub/pipe; mkdir sub/pipe
`

function run(script: string, cwd: string): void {
  execFileSync('sh', ['-c', script], { cwd, stdio: ['ignore', 'ignore', 'inherit'] })
}

/** Small files, a large one, links of both kinds. */
export function fillOld(data: string): void {
  run(OLD, data)
}

/** Small files and parts of the large one are others, a directory with a large file is new, kinds have changed. */
export function changeToNew(data: string): void {
  run(NEW, data)
}
