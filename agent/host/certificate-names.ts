import { checkServerIdentity, type PeerCertificate } from 'node:tls'

/**
 * Whether a certificate is made out for an address, which is an IP address or a DNS name.
 * `altNames`: its subject alternative names as Node prints them, "DNS:h1, IP Address:10.0.0.1".
 * The rule is the one by which a host that dials checks the host that it reached (nodejs.org/api/tls.html).
 */
export function isMadeOutFor(altNames: string, address: string): boolean {
  if (altNames === '' || address === '') return false
  const certificate: Pick<PeerCertificate, 'subjectaltname'> = { subjectaltname: altNames }
  return checkServerIdentity(address, certificate as PeerCertificate) === undefined
}
