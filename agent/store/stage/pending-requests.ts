import { WherryError } from '../../model/errors.ts'
import type { BlockRequest } from '../tree-contract.ts'

/** A request, as its response identifies it. */
export type PendingRequest = BlockRequest extends infer W ? (W extends BlockRequest ? Omit<W, 'bytes'> : never) : never

/** Requests that were sent and not answered yet. */
export class PendingRequests {
  readonly #requests = new Map<string, BlockRequest>()
  /** How many of them are for lists. */
  lists = 0

  get count(): number {
    return this.#requests.size
  }

  add(request: BlockRequest): void {
    this.#requests.set(keyOf(request), request)
    if (request.kind === 'hashes') this.lists++
  }

  /** Throws REQUEST_INVALID when this was not requested. */
  check(request: PendingRequest): void {
    const pending = this.#requests.get(keyOf(request))
    if (pending !== undefined && sameRequest(pending, request)) return
    throw new WherryError('REQUEST_INVALID', 'Data came that was not requested, or for the second time.')
  }

  /** As `check`, and counts the request as answered. */
  remove(request: PendingRequest): void {
    this.check(request)
    this.#requests.delete(keyOf(request))
    if (request.kind === 'hashes') this.lists--
  }
}

function keyOf(request: PendingRequest): string {
  if (request.kind === 'files') return `files ${request.indexes[0]}`
  return request.kind === 'hashes' ? `hashes ${request.index}` : `blocks ${request.run.index} ${request.run.first}`
}

function sameRequest(a: PendingRequest, b: PendingRequest): boolean {
  if (a.kind === 'blocks') return b.kind === 'blocks' && a.run.count === b.run.count
  if (a.kind === 'hashes' || b.kind !== 'files') return true
  return a.indexes.length === b.indexes.length && a.indexes.every((index, nth) => index === b.indexes[nth])
}
