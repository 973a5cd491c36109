import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import test from 'ava'
import { checkCertificate } from '../../../agent/bus/certificate-names.ts'
import { codeOf } from '../../../agent/model/errors.ts'
import { certificates, scratch } from './server.ts'

const ADDRESS = '10.0.0.1'

/** A certificate as releases before this made it, or another tool. */
function make(dir: string, name: string): string {
  const path = join(dir, `${name}.pem`)
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', join(dir, 'key.pem')]
  const names = ['-subj', `/CN=${name}`, '-addext', `subjectAltName=IP:${ADDRESS}`]
  execFileSync('openssl', ['req', '-x509', ...key, ...names, '-out', path], { stdio: 'ignore' })
  return path
}

test('certificates of older releases serve, and are told apart from those that prove a server', async (t) => {
  await using made = await scratch()
  const all = await certificates(join(made.dir, 'certs'), [ADDRESS, 'fd00::1', 'db3.example.org'])
  for (const [address, { cert }] of Object.entries(all)) {
    t.deepEqual(await checkCertificate(cert, address), { provesServer: true })
  }
  t.deepEqual(await checkCertificate(make(made.dir, ADDRESS), ADDRESS), { provesServer: false })
})

test('a certificate by which nats-server cannot know its host is refused at the start, with what to do', async (t) => {
  await using made = await scratch()
  const error = await t.throwsAsync(checkCertificate(make(made.dir, 'host1'), ADDRESS))
  t.is(codeOf(error), 'CERTIFICATE_INVALID')
  t.regex(error?.message ?? '', /its subject is "CN=host1", not "CN=10.0.0.1"/)
})
