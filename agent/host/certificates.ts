import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { isIP } from 'node:net'
import { join } from 'node:path'
import type { Logger } from 'pino'
import { WherryError } from '../model/errors.ts'
import { stampOf, watchFiles } from '../runtime/file-watch.ts'

/** The content of the PEM files, checked together. */
export interface Credentials {
  readonly ca: Buffer
  readonly cert: Buffer
  readonly key: Buffer
}

/** This host's certificates: they prove its identity to other hosts, and verify theirs. */
export interface Identity extends AsyncDisposable {
  /** The newest valid set. */
  current(): Credentials
  /** When its certificate or its CA ends, whichever is first. */
  readonly endsAt: Date
  readonly paths: { readonly ca: string; readonly cert: string; readonly key: string }
  /** Calls `listener` after each new valid set; returns a function that ends that. */
  onChange(listener: () => void): () => void
}

/** New files are in use within two polls; a stat of three files costs nothing. */
const POLL_MS = 2_000
/** An operator has to renew certificates. From this long before their end, each load logs a warning. */
const EXPIRY_WARNING_MS = 30 * 24 * 3_600_000
/** Longest chain from a host's certificate to the CA; more than one intermediate is already unusual. */
const CHAIN_MAX = 5
/** Extended key usages (RFC 5280): hosts are servers and clients of each other. */
const SERVER_AUTH = '1.3.6.1.5.5.7.3.1'
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2'

const MAKE_THEM = 'Make certificates with scripts/certs OUTDIR ADDRESS and copy OUTDIR/ADDRESS/*.pem there.'

function invalid(message: string, cause?: unknown, hint = MAKE_THEM): WherryError {
  return new WherryError('CERTIFICATE_INVALID', message, { hint, cause })
}

async function readPem(path: string): Promise<Buffer> {
  try {
    return await readFile(path)
  } catch (cause) {
    throw invalid(`Certificate file ${path} cannot be read: ${(cause as Error).message}.`, cause)
  }
}

function parseCertificates(path: string, pem: Buffer): X509Certificate[] {
  const blocks = pem.toString('latin1').match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g)
  if (blocks === null) throw invalid(`${path} holds no PEM certificate.`)
  try {
    return blocks.map((block) => new X509Certificate(block))
  } catch (cause) {
    throw invalid(`${path} holds a certificate that cannot be parsed.`, cause)
  }
}

function parseKey(path: string, pem: Buffer): KeyObject {
  try {
    return createPrivateKey(pem)
  } catch (cause) {
    throw invalid(`${path} holds no private key that can be read without a passphrase.`, cause)
  }
}

function checkDates(path: string, certificate: X509Certificate, now: Date): void {
  if (now > certificate.validToDate) throw invalid(`${path} expired on ${certificate.validToDate.toISOString()}.`)
  if (now < certificate.validFromDate) {
    const from = certificate.validFromDate.toISOString()
    const message = `${path} is not valid before ${from}, and this host's clock says ${now.toISOString()}.`
    throw invalid(message, undefined, "Set this host's clock.")
  }
}

function signed(by: X509Certificate, certificate: X509Certificate): boolean {
  return by.ca && certificate.checkIssued(by) && certificate.verify(by.publicKey)
}

/** Returns the CA certificate that vouches for `leaf`, over intermediates if needed; undefined if none does. */
function anchorOf(leaf: X509Certificate, intermediates: X509Certificate[], cas: X509Certificate[]) {
  let below: X509Certificate | undefined = leaf
  for (let depth = 0; depth < CHAIN_MAX && below !== undefined; depth++) {
    const child: X509Certificate = below
    const anchor = cas.find((ca) => signed(ca, child))
    if (anchor !== undefined) return anchor
    below = intermediates.find((one) => one !== child && signed(one, child))
  }
  return undefined
}

function covers(certificate: X509Certificate, address: string): boolean {
  if (isIP(address) !== 0) return certificate.checkIP(address) !== undefined
  return certificate.checkHost(address, { subject: 'never' }) !== undefined
}

/** Checks that the three files fit together and belong to `address`. Returns when the first of them expires. */
function check(paths: Identity['paths'], files: Credentials, address: string, now: Date): Date {
  const cas = parseCertificates(paths.ca, files.ca)
  const [leaf, ...intermediates] = parseCertificates(paths.cert, files.cert)
  if (leaf === undefined) throw invalid(`${paths.cert} holds no PEM certificate.`)
  const key = parseKey(paths.key, files.key)
  checkDates(paths.cert, leaf, now)
  if (!leaf.checkPrivateKey(key)) throw invalid(`${paths.key} is not the key of ${paths.cert}.`)
  const anchor = anchorOf(leaf, intermediates, cas)
  if (anchor === undefined) throw invalid(`${paths.cert} was not signed by the CA in ${paths.ca}.`)
  checkDates(paths.ca, anchor, now)
  if (!covers(leaf, address)) {
    const names = leaf.subjectAltName ?? 'nothing'
    throw invalid(`${paths.cert} is not for ${address}, the address this host advertises, but for ${names}.`)
  }
  // Node's types call it keyUsage. It lists the extended key usages, and is undefined when any use is allowed.
  const usages: string[] | undefined = leaf.keyUsage
  if (usages !== undefined && !(usages.includes(SERVER_AUTH) && usages.includes(CLIENT_AUTH))) {
    throw invalid(`${paths.cert} may not be used as both server and client certificate (extended key usage).`)
  }
  return new Date(Math.min(leaf.validToDate.getTime(), anchor.validToDate.getTime()))
}

/**
 * Returns the certificate of another host from its chain: the CA in `ca` signed it for `address`, and it is valid now.
 * CERTIFICATE_INVALID: it is not.
 */
export function verifyHostCertificate(chain: string, ca: Buffer, address: string, now: Date): X509Certificate {
  const name = `The certificate of ${address}`
  const [leaf, ...intermediates] = parseCertificates(name, Buffer.from(chain))
  if (leaf === undefined) throw invalid(`${name} is empty.`)
  checkDates(name, leaf, now)
  if (anchorOf(leaf, intermediates, parseCertificates('ca.pem', ca)) === undefined) {
    throw invalid(`${name} was not signed by the cluster's CA.`)
  }
  if (!covers(leaf, address)) throw invalid(`${name} is for ${leaf.subjectAltName ?? 'nothing'}.`)
  return leaf
}

/** Whether no CA of the set before vouches for the new certificate. */
function isForeign(paths: Identity['paths'], files: Credentials, before: Credentials): boolean {
  const [leaf, ...intermediates] = parseCertificates(paths.cert, files.cert)
  const cas = parseCertificates(paths.ca, before.ca)
  return leaf !== undefined && anchorOf(leaf, intermediates, cas) === undefined
}

class FileIdentity implements Identity {
  readonly paths: Identity['paths']
  readonly #address: string
  readonly #log: Logger
  readonly #listeners = new Set<() => void>()
  #current: Credentials | undefined
  #endsAt = new Date(0)
  #watch: AsyncDisposable | undefined

  constructor(options: { dir: string; address: string; log: Logger }) {
    const file = (name: string) => join(options.dir, `${name}.pem`)
    this.paths = { ca: file('ca'), cert: file('cert'), key: file('key') }
    this.#address = options.address
    this.#log = options.log
  }

  current(): Credentials {
    if (this.#current === undefined) throw new WherryError('INTERNAL', 'Certificates were used before they were read.')
    return this.#current
  }

  get endsAt(): Date {
    return this.#endsAt
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  async open(pollMs: number): Promise<void> {
    const files = Object.values(this.paths)
    const stamp = await stampOf(files)
    await this.#load()
    this.#watch = watchFiles(files, stamp, pollMs, () => this.#reload())
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listeners.clear()
    await this.#watch?.[Symbol.asyncDispose]()
  }

  async #load(): Promise<void> {
    const { ca, cert, key } = this.paths
    const files = { ca: await readPem(ca), cert: await readPem(cert), key: await readPem(key) }
    const expires = check(this.paths, files, this.#address, new Date())
    const before = this.#current
    this.#current = files
    this.#endsAt = expires
    if (before !== undefined && isForeign(this.paths, files, before))
      this.#log.warn({ ca }, 'certificates of another CA: hosts with those of the old one refuse this host')
    if (expires.getTime() - Date.now() > EXPIRY_WARNING_MS) return
    this.#log.warn({ expires, ca }, 'certificates expire soon: renew them with scripts/certs')
  }

  async #reload(): Promise<void> {
    try {
      await this.#load()
    } catch (err) {
      this.#log.error({ err }, 'new certificates are not usable: the ones read before stay in use')
      return
    }
    this.#log.info({ paths: this.paths }, 'new certificates are in use')
    for (const listener of this.#listeners) listener()
  }
}

/**
 * Reads and checks `<dir>/{ca,cert,key}.pem`, and reads them again when they change on disk.
 * They must be valid, fit together and be for `address`, the IP address or DNS name that this host advertises.
 * A new set that is not usable is logged, and the old one stays.
 * Rejects CERTIFICATE_INVALID with the file and the reason. May be repeated. `pollMs` is for tests.
 */
export async function openIdentity(options: {
  dir: string
  address: string
  log: Logger
  pollMs?: number
}): Promise<Identity> {
  const identity = new FileIdentity(options)
  await identity.open(options.pollMs ?? POLL_MS)
  return identity
}
