import { errnoName, SystemCallError } from './failure.ts'
import { type Libbpf, libbpf, type Pointer } from './libbpf.ts'
import { addressOf } from './libc.ts'

/** struct bpf_prog_info, linux/bpf.h: it only ever grows at its end. */
const PROGRAM_INFO_BYTES = 224
const RECURSION_MISSES_AT = 208
/** struct bpf_object_open_opts of libbpf 1.0 and later: where the verifier's messages go. */
const OPEN_OPTS_BYTES = 80
const LOG_BUFFER_AT = 56
const LOG_SIZE_AT = 64
const LOG_BYTES = 1 << 20
const BATCH_KEYS = 4096
const ENOENT = 2

/** Options for loading an object. */
export interface BpfOptions {
  /** Becomes the object's read-only variables, byte by byte. */
  readonly constants: Buffer
  /** Capacity of maps in keys, by name. Maps that are not named keep the object's capacity. */
  readonly rooms: Readonly<Record<string, number>>
  /** Tells whether a program is needed; others are neither loaded nor attached. */
  readonly wants: (program: string) => boolean
}

/** A map with keys and values of fixed size. */
export interface BpfMap {
  /** Adds keys with zeroed values. Returns how many fit, in their order; throws SystemCallError otherwise. */
  add(keys: Buffer): number
  /** Removes keys that exist. */
  remove(keys: Buffer): void
  /**
   * Removes all entries present at the call, and possibly later ones.
   * `take` gets one part at a time; its buffers are reused.
   */
  drain(take: (keys: Buffer, values: Buffer, count: number) => void): void
  /** Reads the value of a key into a buffer. */
  read(key: Buffer, into: Buffer): void
  /** Sets the value of a key. */
  write(key: Buffer, value: Buffer): void
}

/** Programs that run in the kernel until disposed, or until this process ends. */
export interface BpfObject extends Disposable {
  map(name: string, keyBytes: number, valueBytes: number): BpfMap
  /** How often the kernel skipped a program because it interrupted itself, since the load. */
  misses(): number
}

/**
 * Loads an object file of libbpf into the kernel and attaches its programs: all of them, or none.
 * Throws SystemCallError with the failed call and the verifier's last message; an Error when libbpf is missing.
 * Needs CAP_SYS_ADMIN, or CAP_BPF and CAP_PERFMON.
 */
export function loadBpf(path: string, { constants, rooms, wants }: BpfOptions): BpfObject {
  const library = libbpf()
  const { calls, pointers } = library
  const log = Buffer.alloc(LOG_BYTES)
  const object = pointers.bpf_object__open_file(path, openOpts(log))
  if (object === null) throw new SystemCallError('opening the BPF object', path, errnoName(library.errno()))
  const links: Pointer[] = []
  const close = () => {
    for (const link of links.splice(0)) calls.bpf_link__destroy(link)
    calls.bpf_object__close(object)
  }
  try {
    const programs = programsOf(library, object).filter((program) => {
      const wanted = wants(library.nameOf(program))
      calls.bpf_program__set_autoload(program, wanted)
      return wanted
    })
    const readOnly = pointers.bpf_object__find_map_by_name(object, '.rodata')
    check(calls.bpf_map__set_initial_value(readOnly, constants, constants.length), 'setting constants', path)
    for (const [name, keys] of Object.entries(rooms))
      check(
        calls.bpf_map__set_max_entries(pointers.bpf_object__find_map_by_name(object, name), keys),
        `sizing ${name}`,
        path,
      )
    check(calls.bpf_object__load(object), 'loading the BPF programs', `${path}${lastWords(log)}`)
    for (const program of programs) {
      const link = pointers.bpf_program__attach(program)
      if (link === null)
        throw new SystemCallError(`attaching ${library.nameOf(program)}`, path, errnoName(library.errno()))
      links.push(link)
    }
    let open = true
    return {
      map: (name, keyBytes, valueBytes) => {
        const fd = calls.bpf_map__fd(pointers.bpf_object__find_map_by_name(object, name))
        check(fd, `finding map ${name}`, path)
        return hashMap(library, fd, name, keyBytes, valueBytes)
      },
      misses: () => programs.reduce((sum: number, program) => sum + missesOf(library, program), 0),
      [Symbol.dispose]: () => {
        if (open) close()
        open = false
      },
    }
  } catch (error) {
    close()
    throw error
  }
}

function openOpts(log: Buffer): Buffer {
  const opts = Buffer.alloc(OPEN_OPTS_BYTES)
  opts.writeBigUInt64LE(BigInt(OPEN_OPTS_BYTES), 0)
  opts.writeBigUInt64LE(addressOf(log), LOG_BUFFER_AT)
  opts.writeBigUInt64LE(BigInt(log.length), LOG_SIZE_AT)
  return opts
}

/** The line of the verifier's log before its statistics: it has the reason. */
function lastWords(log: Buffer): string {
  const lines = log.toString('latin1', 0, log.indexOf(0)).split('\n')
  const last = lines.findLast((line) => line !== '' && !line.startsWith('processed '))
  return last === undefined ? '' : ` (${last})`
}

function programsOf({ pointers }: Libbpf, object: Pointer): Pointer[] {
  const found: Pointer[] = []
  let program: Pointer | null = null
  do {
    program = pointers.bpf_object__next_program(object, program)
    if (program !== null) found.push(program)
  } while (program !== null)
  return found
}

function missesOf({ calls }: Libbpf, program: Pointer): number {
  const info = Buffer.alloc(PROGRAM_INFO_BYTES)
  const length = new Uint32Array([PROGRAM_INFO_BYTES])
  check(calls.bpf_obj_get_info_by_fd(calls.bpf_program__fd(program), info, length), 'looking at', 'a BPF program')
  return Number(info.readBigUInt64LE(RECURSION_MISSES_AT))
}

function hashMap({ calls }: Libbpf, fd: number, name: string, keyBytes: number, valueBytes: number): BpfMap {
  let batch: { readonly keys: Buffer; readonly values: Buffer } | undefined
  // The kernel's position in the map: the number of a bucket.
  const place = new Uint32Array(1)
  const count = new Uint32Array(1)
  return {
    add: (added) => {
      count[0] = added.length / keyBytes
      const zeros = Buffer.alloc((added.length / keyBytes) * valueBytes)
      const result = calls.bpf_map_update_batch(fd, added, zeros, count, null)
      if (result < 0 && !['E2BIG', 'ENOMEM'].includes(errnoName(-result))) check(result, 'adding keys', name)
      return count[0]
    },
    remove: (removed) => {
      count[0] = removed.length / keyBytes
      if (removed.length > 0) check(calls.bpf_map_delete_batch(fd, removed, count, null), 'removing keys', name)
    },
    drain: (take) => {
      // Only a map that is drained needs this buffer: one value of another map may have megabytes.
      batch ??= { keys: Buffer.alloc(BATCH_KEYS * keyBytes), values: Buffer.alloc(BATCH_KEYS * valueBytes) }
      const { keys, values } = batch
      let first = true
      let result = 0
      do {
        count[0] = BATCH_KEYS
        const from = first ? null : place
        result = calls.bpf_map_lookup_and_delete_batch(fd, from, place, keys, values, count, null)
        if (result < 0 && result !== -ENOENT) check(result, 'draining', name)
        if (count[0] > 0) take(keys, values, count[0])
        first = false
      } while (result === 0)
    },
    read: (key, into) => {
      check(calls.bpf_map_lookup_elem(fd, key, into), 'reading', name)
    },
    write: (key, value) => {
      check(calls.bpf_map_update_elem(fd, key, value, 0), 'writing', name)
    },
  }
}

function check(result: number, call: string, path: string): void {
  if (result < 0) throw new SystemCallError(call, path, errnoName(-result))
}
