import type { Cursor, Touched } from './contract.ts'

const PLACE_BITS = 18
/** As many as in dirty.bpf.c: with 500 inodes touched, one of 500 others shares a place with them. */
const PLACES = 2 ** PLACE_BITS
/**
 * Words of a place: the cut after which one of its inodes was touched last, and the cut after which one was written
 * to.
 */
const WORDS = 2
export const PLACES_BYTES = PLACES * WORDS * Uint32Array.BYTES_PER_ELEMENT

/** The inodes that were touched since a cut. */
export class TouchedSince implements Touched {
  readonly #places: Uint32Array
  readonly #since: Cursor

  /** `places`: the result of KernelPart.places. */
  constructor(places: Uint32Array, since: Cursor) {
    this.#places = places
    this.#since = since
  }

  has(inoLow: number, inoHigh: number): boolean {
    return (this.#places[placeOf(inoLow, inoHigh)] ?? 0) >= this.#since
  }

  wasWritten(inoLow: number, inoHigh: number): boolean {
    return (this.#places[placeOf(inoLow, inoHigh) + 1] ?? 0) >= this.#since
  }
}

/** The same as in dirty.bpf.c. */
function placeOf(inoLow: number, inoHigh: number): number {
  return ((Math.imul(inoLow, 0x9e3779b1) ^ Math.imul(inoHigh, 0x85ebca77)) >>> (32 - PLACE_BITS)) * WORDS
}
