import { fileURLToPath } from 'node:url'
import { run } from '../lab/command.ts'
import { type Disk, makeDisk, readBytesOf } from './disk.ts'
import type { BenchGround } from './ground.ts'
import { listening } from './rsync.ts'

const RECEIVER = fileURLToPath(new URL('btrfs-receiver.ts', import.meta.url))
const PORT = 8750
/** The first stream has everything. */
const TIMEOUT_MS = 30 * 60_000

/** The answer comes on the connection that the stream went over. */
const SEND = `
btrfs -q subvolume snapshot -r "$SOURCE" "$SNAPSHOT"
exec 3<>"/dev/tcp/$ADDRESS/$PORT"
btrfs -q send $PARENT "$SNAPSHOT" >&3
read -r code <&3
[ "$code" = 0 ]
`

/** btrfs on either host, and snapshots sent from one to the other over a plain TCP connection. */
export class BtrfsPeer {
  readonly #ground: BenchGround
  readonly #mine: Disk
  readonly #theirs: Disk
  #count = 0

  private constructor(ground: BenchGround, mine: Disk, theirs: Disk) {
    this.#ground = ground
    this.#mine = mine
    this.#theirs = theirs
  }

  /** Each host gets a file system of this size with nothing in it. */
  static async start(ground: BenchGround, sizeBytes: number): Promise<BtrfsPeer> {
    const { directory, h2 } = ground
    const mine = await makeDisk(directory, 'btrfs-h1', 'btrfs', sizeBytes)
    const theirs = await makeDisk(directory, 'btrfs-h2', 'btrfs', sizeBytes)
    const peer = new BtrfsPeer(ground, mine, theirs)
    await run('btrfs', ['-q', 'subvolume', 'create', peer.source])
    h2.serve('btrfs-receiver', [process.execPath, RECEIVER, h2.address, String(PORT), theirs.place])
    await listening(ground, PORT)
    return peer
  }

  /** The tree that is sent. */
  get source(): string {
    return `${this.#mine.place}/source`
  }

  /** What was sent last, as it is on h2. */
  get receiver(): string {
    return this.#snapshot(this.#theirs, this.#count)
  }

  get diskReadBytes(): number {
    return readBytesOf(this.#mine) + readBytesOf(this.#theirs)
  }

  /** Takes a snapshot and sends what it differs by from the one before; resolves when h2 has it on its disk. */
  async sync(): Promise<void> {
    const parent = this.#count === 0 ? '' : `-p ${this.#snapshot(this.#mine, this.#count)}`
    this.#count++
    const env = {
      SOURCE: this.source,
      SNAPSHOT: this.#snapshot(this.#mine, this.#count),
      PARENT: parent,
      ADDRESS: this.#ground.h2.address,
      PORT: String(PORT),
    }
    await this.#ground.h1.exec(['bash', '-euc', SEND], { env, timeoutMs: TIMEOUT_MS })
    await run('sync', ['-f', this.receiver], { timeoutMs: TIMEOUT_MS })
  }

  async settle(): Promise<void> {
    for (const { place } of [this.#mine, this.#theirs]) await run('sync', ['-f', place], { timeoutMs: TIMEOUT_MS })
  }

  #snapshot({ place }: Disk, number: number): string {
    return `${place}/s${number}`
  }
}
