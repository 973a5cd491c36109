import { KeyObject, webcrypto } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
// Classes of the next package need it.
import 'reflect-metadata'
import { SubjectAlternativeNameExtension, X509CertificateGenerator } from '@peculiar/x509'
import type { TlsFiles } from './endpoint.ts'

const KEYS = { name: 'ECDSA', namedCurve: 'P-256' }
/** The agent makes a new one at each start, and its clock may be set meanwhile. */
const FROM = new Date('2000-01-01T00:00:00Z')
const UNTIL = new Date('9999-12-31T23:59:59Z')

/**
 * Makes a key and a certificate for 127.0.0.1 that vouches for itself, in `<dir>/<name>-{cert,key}.pem`.
 * Server and client of this host know each other by it: nobody else can read the key.
 */
export async function writeLoopbackCertificate(dir: string, name: string): Promise<TlsFiles> {
  const keys = await webcrypto.subtle.generateKey(KEYS, true, ['sign', 'verify'])
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: 'CN=wherry',
    keys,
    notBefore: FROM,
    notAfter: UNTIL,
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
    extensions: [new SubjectAlternativeNameExtension([{ type: 'ip', value: '127.0.0.1' }])],
  })
  const files = {
    ca: join(dir, `${name}-cert.pem`),
    cert: join(dir, `${name}-cert.pem`),
    key: join(dir, `${name}-key.pem`),
  }
  const key = KeyObject.from(keys.privateKey).export({ type: 'pkcs8', format: 'pem' })
  await writeFile(files.cert, `${certificate.toString('pem')}\n`, { mode: 0o600 })
  await writeFile(files.key, key, { mode: 0o600 })
  return files
}
