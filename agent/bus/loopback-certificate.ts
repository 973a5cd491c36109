import { generateKeyPairSync, randomBytes, sign } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { TlsFiles } from './endpoint.ts'

/** Tags of DER (ITU-T X.690). */
const INTEGER = 0x02
const BITS = 0x03
const OCTETS = 0x04
const OBJECT = 0x06
const UTF8 = 0x0c
const TIME = 0x18
const SEQUENCE = 0x30
const SET = 0x31
/** Of X.509 (RFC 5280): version and extensions, and an IP address among the names. */
const VERSION = 0xa0
const EXTENSIONS = 0xa3
const IP_ADDRESS = 0x87

/** Object identifiers, encoded: ecdsa-with-SHA256, commonName, subjectAltName. */
const ECDSA_SHA256 = Buffer.from('2a8648ce3d040302', 'hex')
const COMMON_NAME = Buffer.from('550403', 'hex')
const ALTERNATIVE_NAME = Buffer.from('551d11', 'hex')

/** The agent makes a new one at each start, and its clock may be set meanwhile. */
const FROM = '20000101000000Z'
const UNTIL = '99991231235959Z'

/**
 * Makes a key and a certificate for 127.0.0.1 that vouches for itself, in `<dir>/<name>-{cert,key}.pem`.
 * Server and client of this host know each other by it: nobody else can read the key.
 */
export async function writeLoopbackCertificate(dir: string, name: string): Promise<TlsFiles> {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const algorithm = der(SEQUENCE, der(OBJECT, ECDSA_SHA256))
  const subject = der(SEQUENCE, der(SET, der(SEQUENCE, der(OBJECT, COMMON_NAME), der(UTF8, Buffer.from('wherry')))))
  const names = der(SEQUENCE, der(IP_ADDRESS, Buffer.from([127, 0, 0, 1])))
  const body = der(
    SEQUENCE,
    der(VERSION, der(INTEGER, Buffer.from([2]))),
    // The first byte keeps the number positive, and not zero.
    der(INTEGER, Buffer.concat([Buffer.from([1]), randomBytes(15)])),
    algorithm,
    subject,
    der(SEQUENCE, der(TIME, Buffer.from(FROM)), der(TIME, Buffer.from(UNTIL))),
    subject,
    publicKey.export({ type: 'spki', format: 'der' }),
    der(EXTENSIONS, der(SEQUENCE, der(SEQUENCE, der(OBJECT, ALTERNATIVE_NAME), der(OCTETS, names)))),
  )
  const signature = der(BITS, Buffer.from([0]), sign('sha256', body, privateKey))
  const cert = pem('CERTIFICATE', der(SEQUENCE, body, algorithm, signature))
  const files = {
    ca: join(dir, `${name}-cert.pem`),
    cert: join(dir, `${name}-cert.pem`),
    key: join(dir, `${name}-key.pem`),
  }
  await writeFile(files.cert, cert, { mode: 0o600 })
  await writeFile(files.key, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 })
  return files
}

function der(tag: number, ...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts)
  const { length } = content
  // Nothing here is longer than 65,535 bytes.
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...size]), content])
}

function pem(label: string, content: Buffer): string {
  const lines = content.toString('base64').match(/.{1,64}/g) ?? []
  return [`-----BEGIN ${label}-----`, ...lines, `-----END ${label}-----`, ''].join('\n')
}
