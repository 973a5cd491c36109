import { execFileSync } from 'node:child_process'
import test from 'ava'
import fc from 'fast-check'
import { describeTree } from './comparer.ts'
import { host, move, volume } from './fixture.ts'

/** Few names, so that edits meet each other: kinds change, links break, directories take the place of files. */
const path = fc.constantFrom('a', 'b', 'c', 'd', 'a/x', 'a/y', 'b/x', 'b/x/deep', 'c/z', 'd/$(printf "n\\377")')
const number = fc.integer({ min: 0, max: 70_000 })

/** Opening a pipe to write waits for a reader: only files are written to, and copies replace what is there. */
const unlessPipe = (p: string, line: string) => `[ -p "${p}" ] || ${line}`

/** No driver has this number: opening such a device fails and does nothing. */
const NO_DRIVER_MAJOR = 4000

/** Edits as shell lines; one that makes no sense where it lands fails and changes nothing. */
const edit = fc.oneof(
  path.map((p) => `mkdir "${p}"`),
  fc.tuple(path, number).map(([p, n]) => unlessPipe(p, `head -c ${n} /dev/zero > "${p}"`)),
  fc.tuple(path, number).map(([p, n]) => unlessPipe(p, `printf ${n} >> "${p}"`)),
  fc.tuple(path, number).map(([p, n]) => unlessPipe(p, `printf z | dd of="${p}" bs=1 seek=${n * 100} conv=notrunc`)),
  fc.tuple(path, number).map(([p, n]) => unlessPipe(p, `truncate -s ${n} "${p}"`)),
  fc.tuple(path, path).map(([p, q]) => `ln "${p}" "${q}"`),
  fc.tuple(path, path).map(([p, q]) => `ln -s "${p}" "${q}"`),
  fc.tuple(path, path).map(([p, q]) => `mv -T "${p}" "${q}"`),
  fc.tuple(path, path).map(([p, q]) => `cp -a --remove-destination "${p}" "${q}"`),
  path.map((p) => `rm -rf "${p}"`),
  path.map((p) => `mkfifo "${p}"`),
  fc.tuple(path, fc.nat(255)).map(([p, n]) => `mknod "${p}" c ${NO_DRIVER_MAJOR} ${n}`),
  fc.tuple(path, fc.integer({ min: 0, max: 0o7777 })).map(([p, m]) => `chmod ${m.toString(8)} "${p}"`),
  fc.tuple(path, fc.nat(99), fc.nat(99)).map(([p, u, g]) => `chown -h ${u}:${g} "${p}"`),
  fc.tuple(path, fc.integer({ min: -(10 ** 9), max: 10 ** 9 })).map(([p, s]) => `touch -h -d "@${s}.123456789" "${p}"`),
  fc.tuple(path, number).map(([p, n]) => `setfattr -h -n trusted.t${n % 3} -v v${n} "${p}"`),
  path.map((p) => `setfattr -h -x trusted.t1 "${p}"`),
  fc.tuple(path, number).map(([p, n]) => `setfacl -m u:${n % 5}:r "${p}"`),
  fc.tuple(path, number).map(([p, n]) => `setfacl -d -m u:${n % 5}:rx "${p}"`),
  path.map((p) => `setfacl -b "${p}"`),
)

/** Forty small edits take well under a second; an edit that hangs is a fault of this test and must show. */
const EDITS_TIMEOUT_MS = 30_000

test('after any edits the receiver equals the sender, checkpoint after checkpoint', async (t) => {
  const [one, two] = [await host(t), await host(t)]
  const rounds = fc.array(fc.array(edit, { minLength: 5, maxLength: 40 }), { minLength: 2, maxLength: 3 })
  await fc.assert(
    fc.asyncProperty(rounds, async (checkpoints) => {
      const v = volume()
      await one.store.create(v)
      const cwd = one.data(v.id)
      for (const [seq, edits] of checkpoints.entries()) {
        execFileSync('sh', ['-c', `${edits.join('\n')}\nexit 0`], { cwd, stdio: 'ignore', timeout: EDITS_TIMEOUT_MS })
        await move(one.store, two.store, v, seq)
        t.deepEqual(describeTree(two.data(v.id)), describeTree(cwd), edits.join('\n'))
      }
    }),
    { numRuns: 25, interruptAfterTimeLimit: 60_000 },
  )
})
