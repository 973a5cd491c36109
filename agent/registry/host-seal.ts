import { createPrivateKey, sign, verify, type X509Certificate } from 'node:crypto'
import { z } from 'zod'
import { type Identity, verifyHostCertificate } from '../host/certificates.ts'
import { WherryError } from '../model/errors.ts'
import type { HostRecord, Seal } from '../model/model.ts'
import { hostSchema } from './schema.ts'

/** What a seal does not cover: it changes with each renewal, or another host writes it. */
const UNSEALED = ['renewal', 'at', 'expiredBy', 'seal']

/** So that no signature of this key for another purpose passes for a seal. */
const PURPOSE = 'wherry heartbeat 1'

/** Checked certificates kept, each with the CA and the address that it was checked for. */
const CERTIFICATES_KEPT = 2_000

/** No host's chain is longer. It is parsed before it is believed. */
const CHAIN_MOST = 16_384

const seal: z.ZodType<Seal> = z.looseObject({
  certificate: z.string().max(CHAIN_MOST),
  fields: z.array(z.string()).max(100),
  signature: z.string().max(2_048),
})

interface Known {
  readonly address: string
  /** What was signed last, and its signature: checked once. Null: it was not signed. */
  readonly checked: string | null
}

/**
 * Signs this host's heartbeat, and tells which heartbeats of others to believe.
 * Any host may write the key of a heartbeat, because any host may have to mark a lease as expired.
 */
export class HostSeals {
  readonly #identity: Pick<Identity, 'current'>
  readonly #peers: readonly string[]
  readonly #known = new Map<string, Known>()
  readonly #certificates = new Map<string, X509Certificate>()
  #last: { readonly text: string; readonly seal: Seal } | null = null

  /** `peers`: addresses of all hosts; empty: not known. */
  constructor(identity: Pick<Identity, 'current'>, peers: readonly string[]) {
    this.#identity = identity
    this.#peers = peers
  }

  /** Returns the heartbeat with this host's signature. */
  seal(record: HostRecord): HostRecord {
    const { cert, key } = this.#identity.current()
    const certificate = cert.toString('latin1')
    const fields = Object.entries(record).flatMap(([field, value]) =>
      UNSEALED.includes(field) || value === undefined ? [] : [field],
    )
    const text = textOf(record, fields)
    // This host may have another address than before.
    if (this.#known.get(record.id)?.address !== record.address) this.#known.delete(record.id)
    let last = this.#last
    if (last === null || last.text !== text || last.seal.certificate !== certificate) {
      const secret = createPrivateKey(key)
      const signature = sign(digestOf(secret.asymmetricKeyType), Buffer.from(text), secret).toString('base64')
      last = { text, seal: { certificate, fields, signature } }
      this.#last = last
    }
    return { ...record, seal: last.seal }
  }

  /** The schema of heartbeats as they are stored: only what their host signed counts. */
  get schema(): z.ZodType<HostRecord> {
    return z
      .unknown()
      .transform((stored, context) => {
        try {
          return this.#believed(stored)
        } catch (error) {
          context.addIssue({ code: 'custom', message: (error as Error).message })
          return z.NEVER
        }
      })
      .pipe(hostSchema)
  }

  #believed(stored: unknown): unknown {
    const { id, address, ...rest } = z.looseObject({ id: z.string(), address: z.string() }).parse(stored)
    const known = this.#known.get(id)
    const isMember = known !== undefined && (this.#peers.length === 0 || this.#peers.includes(known.address))
    if (isMember && known.address !== address) {
      throw refused(`Host ${id} is at ${known.address}; this heartbeat says ${address}.`)
    }
    if (rest.seal === undefined) {
      if (known !== undefined && known.checked !== null) throw refused(`Host ${id} did not sign this heartbeat.`)
      this.#known.set(id, { address, checked: null })
      return stored
    }
    const proof = seal.parse(rest.seal)
    const record = { id, address, ...rest } as Record<string, unknown>
    const checked = `${proof.signature} ${proof.certificate} ${textOf(record, proof.fields)}`
    if (known?.checked !== checked) this.#check(record, proof, address)
    this.#known.set(id, { address, checked })
    const kept = [...proof.fields, ...UNSEALED]
    return Object.fromEntries(Object.entries(record).filter(([field]) => kept.includes(field)))
  }

  #check(record: Record<string, unknown>, { certificate, fields, signature }: Seal, address: string): void {
    if (!fields.includes('id') || !fields.includes('address')) throw refused('The signature covers no host.')
    const { publicKey } = this.#certificate(certificate, address)
    const text = Buffer.from(textOf(record, fields))
    if (!verify(digestOf(publicKey.asymmetricKeyType), text, publicKey, Buffer.from(signature, 'base64'))) {
      throw refused(`The host at ${address} did not sign this heartbeat.`)
    }
  }

  #certificate(chain: string, address: string): X509Certificate {
    const { ca } = this.#identity.current()
    const key = `${address} ${chain} ${ca.toString('latin1')}`
    const checked = this.#certificates.get(key)
    if (checked !== undefined && Date.now() < checked.validToDate.getTime()) return checked
    const certificate = verifyHostCertificate(chain, ca, address, new Date())
    if (this.#certificates.size >= CERTIFICATES_KEPT) this.#certificates.clear()
    this.#certificates.set(key, certificate)
    return certificate
  }
}

function refused(message: string): WherryError {
  return new WherryError('RECORD_INVALID', message)
}

/** The hash for signatures of such a key; null: the algorithm has one of its own. */
function digestOf(type: string | undefined): 'sha256' | null {
  return type === 'ed25519' || type === 'ed448' ? null : 'sha256'
}

/** The text that is signed. It does not depend on the order of an object's keys. */
function textOf(record: object, fields: readonly string[]): string {
  const values = record as Record<string, unknown>
  return JSON.stringify([PURPOSE, ...fields.map((field) => [field, ordered(values[field])])])
}

function ordered(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(ordered)
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1))
  return Object.fromEntries(entries.map(([key, inner]) => [key, ordered(inner)]))
}
