/**
 * OpenSSL's reasons for a chain that ends at none of our CAs.
 * Source: nodejs.org/api/tls.html, X509 certificate error codes.
 */
const OTHER_CA = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
])

/** Why another host's certificate is not good. Node's own text for another CA recommends options of Node. */
export function describeCertificateError({ code, message }: NodeJS.ErrnoException): string {
  if (code === undefined || !OTHER_CA.has(code)) return `${message} (${code ?? 'no code'})`
  return `it is of another CA than this host's ca.pem; make the certificates of all hosts with the same CA (${code})`
}
