import { mkdirSync, truncateSync, writeFileSync } from 'node:fs'
import { type ContentStretch, fill, overwrite } from './content.ts'
import type { BenchHost } from './ground.ts'
import { Noise } from './noise.ts'
import { PostgresData } from './postgres.ts'

const KIB = 1024
const MIB = 1024 * KIB
const GIB = 1024 * MIB
const PAGE_BYTES = 8 * KIB
const SPARSE_PIECES = 1_000

export type PeerName = 'daemon' | 'ssh'

export interface Owner {
  readonly uid: number
  readonly gid: number
}

/** Where a case has its source. */
export interface CasePlace {
  readonly directory: string
  readonly host: BenchHost
  /** Below 1: less data, for a quick try. */
  readonly scale: number
}

export interface CaseExtent extends ContentStretch {
  readonly file: string
}

/** One thing to measure. */
export interface Case {
  readonly name: string
  readonly what: string
  /**
   * `full`: into an empty receiver. `change`: the source is changed before each round and each receiver has the state
   * of the round before. `none`: nothing is changed.
   */
  readonly kind: 'full' | 'change' | 'none'
  /** At least this many times as fast as the peer. */
  readonly floors: Readonly<Record<PeerName, number>>
  /** Flags that rsync is given besides the common ones: what a knowing user would give it for this data. */
  readonly rsyncFlags: readonly string[]
  owner?(): Promise<Owner>
  prepare(place: CasePlace): Promise<void>
  change?(place: CasePlace, round: number): Promise<void>
  /** Where there is data, from page boundaries on; only this is read to warm caches and to compare trees. */
  extents?(scale: number): readonly CaseExtent[]
}

export const CASES: readonly Case[] = [
  {
    name: 'big',
    what: '2 files of 1 GiB, random',
    kind: 'full',
    floors: { daemon: 1.0, ssh: 1.5 },
    rsyncFlags: [],
    async prepare({ directory, scale }) {
      for (const name of ['a', 'b']) fill(`${directory}/${name}`, GIB * scale)
    },
  },
  {
    name: 'small',
    what: '100,000 files of 1 to 9 KiB in 500 directories',
    kind: 'full',
    floors: { daemon: 1.2, ssh: 1.5 },
    rsyncFlags: [],
    prepare: makeSmallFiles,
  },
  {
    name: 'page',
    what: 'one 8 KiB page changed in a 1 GiB file',
    kind: 'change',
    floors: { daemon: 2, ssh: 2 },
    rsyncFlags: ['--inplace'],
    async prepare({ directory, scale }) {
      fill(`${directory}/file`, GIB * scale)
    },
    async change({ directory, scale }, round) {
      const noise = new Noise(`page ${round}`)
      const page = noise.below(Math.floor((GIB * scale) / PAGE_BYTES))
      overwrite(`${directory}/file`, noise, [{ offset: page * PAGE_BYTES, length: PAGE_BYTES }])
    },
  },
  {
    name: 'noop',
    what: 'nothing changed in the 100,000 files',
    kind: 'none',
    floors: { daemon: 1.5, ssh: 1.5 },
    rsyncFlags: [],
    prepare: makeSmallFiles,
  },
  {
    name: 'postgres',
    what: 'pgbench scale 30 after 20,000 more transactions, server stopped',
    kind: 'change',
    floors: { daemon: 1.5, ssh: 2 },
    rsyncFlags: [],
    owner: () => PostgresData.owner(),
    prepare: ({ directory, host, scale }) =>
      new PostgresData(directory, host).create(Math.max(1, Math.round(30 * scale))),
    change: ({ directory, host, scale }, round) => new PostgresData(directory, host).work(20_000 * scale, round),
  },
  {
    name: 'sparse',
    what: 'a 20 GiB file with 200 MiB of data in 1,000 places',
    kind: 'full',
    floors: { daemon: 5, ssh: 5 },
    rsyncFlags: ['-S'],
    async prepare({ directory, scale }) {
      writeFileSync(`${directory}/file`, '')
      truncateSync(`${directory}/file`, Math.floor(20 * GIB * scale))
      overwrite(`${directory}/file`, new Noise('sparse content'), sparsePlaces(scale))
    },
    extents: sparsePlaces,
  },
]

/** Pieces of data, one at some page of each of as many equal parts of the file. */
function sparsePlaces(scale: number): CaseExtent[] {
  const noise = new Noise('sparse places')
  const length = Math.floor((200 * MIB * scale) / SPARSE_PIECES)
  const part = Math.floor((20 * GIB * scale) / SPARSE_PIECES)
  return Array.from({ length: SPARSE_PIECES }, (_, index) => {
    const room = Math.floor((part - length) / (4 * KIB)) - 1
    const start = Math.ceil((index * part) / (4 * KIB))
    return { file: 'file', offset: (start + noise.below(room)) * 4 * KIB, length }
  })
}

async function makeSmallFiles({ directory, scale }: CasePlace): Promise<void> {
  const noise = new Noise('small')
  const directories = Math.max(1, Math.round(500 * scale))
  for (let d = 0; d < directories; d++) {
    const place = `${directory}/d${String(d).padStart(3, '0')}`
    mkdirSync(place)
    for (let f = 0; f < 200; f++) {
      writeFileSync(`${place}/f${String(f).padStart(3, '0')}`, noise.bytes(KIB + noise.below(8 * KIB + 1)))
    }
  }
}
