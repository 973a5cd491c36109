import { X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { WherryError } from '../model/errors.ts'
import { natsUser } from './host-rights.ts'

/** What nats-servers can tell from a host's certificate. */
export interface CertificateNames {
  /** It names its address as a DNS name as well, so servers can tell whether it may join as one of them. */
  readonly provesServer: boolean
}

/**
 * Checks that nats-servers will know this host by its certificate, and returns what else they can tell from it.
 * CERTIFICATE_INVALID: they will not.
 */
export async function checkCertificate(path: string, address: string): Promise<CertificateNames> {
  const { subject, subjectAltName = '' } = new X509Certificate(await readFile(path))
  const dnsNames = subjectAltName.split(', ').flatMap((name) => (name.startsWith('DNS:') ? [name.slice(4)] : []))
  const user = natsUser(address)
  if (subject !== user && !dnsNames.includes(user)) {
    throw new WherryError(
      'CERTIFICATE_INVALID',
      `${path} does not name ${address} as nats-server needs it: its subject is "${subject}", not "CN=${address}".`,
      { hint: 'Make certificates with scripts/certs OUTDIR ADDRESS and copy OUTDIR/ADDRESS/*.pem there.' },
    )
  }
  return { provesServer: dnsNames.includes(address) }
}
