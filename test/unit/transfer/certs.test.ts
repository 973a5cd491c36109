import { X509Certificate } from 'node:crypto'
import { readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'ava'
import { CERTS, certs, expired, HOST, runProgram, transferDirectory } from './kit.ts'

async function snapshot(dir: string): Promise<Record<string, string>> {
  const names = await readdir(dir, { recursive: true, withFileTypes: true })
  const files = names.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  return Object.fromEntries(await Promise.all(files.map(async (file) => [file, await readFile(file, 'utf8')])))
}

test('scripts/certs may be repeated: what is valid stays, new addresses get the same CA', async (t) => {
  await using place = await transferDirectory()
  await certs(place.dir, HOST, 'db.example.org')
  const before = await snapshot(place.dir)
  await certs(place.dir, HOST, 'db.example.org', '::1')
  const after = await snapshot(place.dir)
  t.like(after, before)
  t.is(after[join(place.dir, '::1', 'ca.pem')], before[join(place.dir, 'ca.pem')])
})

test('scripts/certs keeps private keys to their owner', async (t) => {
  await using place = await transferDirectory()
  const dir = await certs(place.dir, HOST)
  for (const file of [join(place.dir, 'ca.key'), join(dir, 'key.pem')])
    t.is((await stat(file)).mode & 0o777, 0o600, file)
})

test('scripts/certs renews what is wrong or expired and says so', async (t) => {
  await using place = await transferDirectory()
  const dir = await certs(place.dir, HOST)
  const old = await expired(place.dir)
  const spoils: [RegExp, () => Promise<void>][] = [
    [
      /renewed .*: it has expired/,
      async () => {
        await writeFile(join(dir, 'cert.pem'), old.cert)
        await writeFile(join(dir, 'key.pem'), old.key)
      },
    ],
    [/renewed .*: key\.pem is not its key/, () => writeFile(join(dir, 'key.pem'), old.key)],
    [/renewed .*: cert\.pem is not a certificate/, () => writeFile(join(dir, 'cert.pem'), 'x')],
    [/made /, () => rm(dir, { recursive: true })],
  ]
  for (const [message, spoil] of spoils) {
    await spoil()
    t.regex((await runProgram(CERTS, [place.dir, HOST])).stdout, message)
    t.regex((await runProgram(CERTS, [place.dir, HOST])).stdout, /kept/)
  }
})

test('scripts/certs never replaces a CA by itself', async (t) => {
  await using place = await transferDirectory()
  await certs(place.dir, HOST)
  await rm(join(place.dir, 'ca.key'))
  const before = await snapshot(place.dir)
  const error = await t.throwsAsync(runProgram(CERTS, [place.dir, HOST]))
  t.regex(String(error), /there is ca\.pem but no ca\.key/)
  t.deepEqual(await snapshot(place.dir), before)
})

test('scripts/certs refuses what is no address, before it makes anything', async (t) => {
  await using place = await transferDirectory()
  const out = join(place.dir, 'out')
  for (const bad of ['1.2.3', '300.1.1.1', 'a b', '../x', 'a..b', '-x', '', 'x/y']) {
    await t.throwsAsync(runProgram(CERTS, [out, HOST, bad]), { message: /neither an IP address nor a DNS name/ }, bad)
  }
  await t.throwsAsync(stat(out), { code: 'ENOENT' })
})

test('certificates made now are good on hosts whose clocks are hours behind', async (t) => {
  await using place = await transferDirectory()
  const dir = await certs(place.dir, HOST)
  for (const file of ['ca.pem', 'cert.pem']) {
    const { validFromDate, validToDate } = new X509Certificate(await readFile(join(dir, file)))
    t.true(validFromDate.getTime() < Date.now() - 12 * 3_600_000, file)
    t.true(validToDate.getTime() > Date.now() + 1_000 * 24 * 3_600_000, file)
  }
})
