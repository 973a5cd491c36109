import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { mock } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import test from 'ava'
import { openIdentity } from '../../../agent/host/certificates.ts'
import { WherryError } from '../../../agent/model/errors.ts'
import { untilTrue } from '../until.ts'
import { certs, expired, HOST, identityIn, recorder, runProgram, transferDirectory } from './kit.ts'

/** A host's tls directory with valid files, and the CA directory beside it. */
async function ground() {
  const place = await transferDirectory()
  const tls = join(place.dir, 'tls')
  await cp(await certs(join(place.dir, 'ca'), HOST), tls, { recursive: true })
  const { log, lines } = recorder()
  return {
    dir: place.dir,
    tls,
    log,
    lines,
    open: () => identityIn(tls, log),
    [Symbol.asyncDispose]: () => place[Symbol.asyncDispose](),
  }
}

test('files made by scripts/certs are taken as they are', async (t) => {
  await using set = await ground()
  await using identity = await set.open()
  t.deepEqual(identity.current().key, await readFile(join(set.tls, 'key.pem')))
  t.is(identity.paths.ca, join(set.tls, 'ca.pem'))
})

test('each way certificates can be wrong is refused with the file and the remedy', async (t) => {
  await using set = await ground()
  const other = await certs(join(set.dir, 'other'), HOST)
  const old = await expired(join(set.dir, 'ca'))
  const oldCa = join(set.dir, 'old-ca')
  await mkdir(oldCa)
  const cases: [string, RegExp, () => Promise<unknown>][] = [
    ['missing', /key\.pem cannot be read/, () => rm(join(set.tls, 'key.pem'))],
    ['no PEM', /ca\.pem holds no PEM/, () => writeFile(join(set.tls, 'ca.pem'), 'hello')],
    [
      'garbage',
      /cert\.pem holds a certificate that cannot be parsed/,
      () => writeFile(join(set.tls, 'cert.pem'), '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'),
    ],
    ['no key', /key\.pem holds no private key/, () => writeFile(join(set.tls, 'key.pem'), 'hello')],
    ['wrong key', /key\.pem is not the key of .*cert\.pem/, () => cp(join(other, 'key.pem'), join(set.tls, 'key.pem'))],
    [
      'wrong CA',
      /cert\.pem was not signed by the CA in .*ca\.pem/,
      () => cp(join(other, 'ca.pem'), join(set.tls, 'ca.pem')),
    ],
    [
      'expired',
      /cert\.pem expired on 20/,
      async () => {
        await writeFile(join(set.tls, 'cert.pem'), old.cert)
        await writeFile(join(set.tls, 'key.pem'), old.key)
      },
    ],
  ]
  for (const [name, message, spoil] of cases) {
    await spoil()
    const error = await t.throwsAsync(
      set.open(),
      { instanceOf: WherryError, code: 'CERTIFICATE_INVALID', message },
      name,
    )
    t.true(error?.hint?.includes('scripts/certs'))
    await cp(join(set.dir, 'ca', HOST), set.tls, { recursive: true })
  }
  await using good = await set.open()
  t.truthy(good)
})

test.serial('a clock that is days behind is named as what is wrong, not the certificates', async (t) => {
  await using set = await ground()
  mock.timers.enable({ apis: ['Date'], now: Date.now() - 3 * 24 * 3_600_000 })
  try {
    const message = /pem is not valid before 20.*, and this host's clock says 20/
    const error = await t.throwsAsync(set.open(), { instanceOf: WherryError, code: 'CERTIFICATE_INVALID', message })
    t.regex(error?.hint ?? '', /clock/)
  } finally {
    mock.timers.reset()
  }
})

test('a certificate for another address is refused, and both addresses are named', async (t) => {
  await using set = await ground()
  for (const address of ['10.1.2.3', 'db.example.org', '::1']) {
    const message = new RegExp(`is not for ${address}.*127\\.0\\.0\\.1`)
    await t.throwsAsync(openIdentity({ dir: set.tls, address, log: set.log }), { code: 'CERTIFICATE_INVALID', message })
  }
})

test('the end of the certificate is known', async (t) => {
  await using set = await ground()
  await using identity = await set.open()
  const days = (identity.endsAt.getTime() - Date.now()) / 86_400_000
  t.true(days > 1090 && days < 1096, `${days} days: scripts/certs makes certificates for three years`)
})

test('DNS names and IPv6 addresses work as addresses', async (t) => {
  await using set = await ground()
  for (const address of ['db.example.org', '::1']) {
    const dir = await certs(join(set.dir, 'ca'), address)
    await using identity = await openIdentity({ dir, address, log: set.log })
    t.truthy(identity.current())
  }
})

test('a broken new set is logged and the old one stays in use, until a good one comes', async (t) => {
  await using set = await ground()
  await using identity = await set.open()
  let changes = 0
  identity.onChange(() => {
    changes += 1
  })
  const first = identity.current()
  await writeFile(join(set.tls, 'cert.pem'), 'half a certificate')
  await untilTrue(() => set.lines.some((line) => line.includes('not usable')))
  await setTimeout(300)
  t.is(set.lines.filter((line) => line.includes('not usable')).length, 1, 'said once, not at each look')
  t.is(identity.current(), first)
  t.is(changes, 0)
  await rm(join(set.dir, 'ca', HOST), { recursive: true })
  await cp(await certs(join(set.dir, 'ca'), HOST), set.tls, { recursive: true })
  await untilTrue(() => changes === 1)
  t.notDeepEqual(identity.current().cert, first.cert)
})

test('files of another CA come into use with a warning, renewed ones of the same CA without', async (t) => {
  await using set = await ground()
  await using identity = await set.open()
  const warned = () => set.lines.filter((line) => line.includes('certificates of another CA')).length
  const replace = async (from: string) => {
    await cp(from, set.tls, { recursive: true })
    const key = await readFile(join(from, 'key.pem'))
    await untilTrue(() => identity.current().key.equals(key))
  }
  await rm(join(set.dir, 'ca', HOST), { recursive: true })
  await replace(await certs(join(set.dir, 'ca'), HOST))
  t.is(warned(), 0)
  await replace(await certs(join(set.dir, 'foreign'), HOST))
  t.is(warned(), 1)
})

test('a certificate that ends soon is announced', async (t) => {
  await using set = await ground()
  const ca = join(set.dir, 'ca')
  await expired(ca)
  const sign = ['x509', '-req', '-in', join(ca, 'old.csr'), '-CA', join(ca, 'ca.pem'), '-CAkey', join(ca, 'ca.key')]
  await runProgram('openssl', [
    ...sign,
    '-set_serial',
    '10',
    '-days',
    '5',
    '-extfile',
    join(ca, 'expired.cnf'),
    '-out',
    join(set.tls, 'cert.pem'),
  ])
  await cp(join(ca, 'old.key'), join(set.tls, 'key.pem'))
  await using identity = await set.open()
  t.truthy(identity.current())
  t.true(set.lines.some((line) => line.includes('certificates expire soon')))
})
