import { createRequire } from 'node:module'
import type { Native } from './libc.ts'

type Koffi = typeof import('koffi')
export type Pointer = unknown

const PROTOTYPES = {
  bpf_map__fd: 'int bpf_map__fd(void *map)',
  bpf_map__set_initial_value: 'int bpf_map__set_initial_value(void *map, const void *data, size_t size)',
  bpf_map__set_max_entries: 'int bpf_map__set_max_entries(void *map, unsigned int entries)',
  bpf_map_delete_batch: 'int bpf_map_delete_batch(int fd, const void *keys, void *count, const void *opts)',
  bpf_map_lookup_and_delete_batch:
    'int bpf_map_lookup_and_delete_batch(int fd, void *in, void *out, void *keys, void *values, void *count, ' +
    'const void *opts)',
  bpf_map_lookup_elem: 'int bpf_map_lookup_elem(int fd, const void *key, void *value)',
  bpf_map_update_elem: 'int bpf_map_update_elem(int fd, const void *key, const void *value, uint64_t flags)',
  bpf_map_update_batch:
    'int bpf_map_update_batch(int fd, const void *keys, const void *values, void *count, const void *opts)',
  bpf_obj_get_info_by_fd: 'int bpf_obj_get_info_by_fd(int fd, void *info, void *length)',
  bpf_object__close: 'void bpf_object__close(void *object)',
  bpf_object__load: 'int bpf_object__load(void *object)',
  bpf_link__destroy: 'int bpf_link__destroy(void *link)',
  bpf_program__fd: 'int bpf_program__fd(void *program)',
  bpf_program__set_autoload: 'int bpf_program__set_autoload(void *program, bool load)',
} as const

const POINTER_PROTOTYPES = {
  bpf_object__find_map_by_name: 'void *bpf_object__find_map_by_name(void *object, const char *name)',
  bpf_object__next_program: 'void *bpf_object__next_program(void *object, void *previous)',
  bpf_object__open_file: 'void *bpf_object__open_file(const char *path, const void *opts)',
  bpf_program__attach: 'void *bpf_program__attach(void *program)',
} as const

/** The part of libbpf 1.x that is used here. Calls with a number return 0 or more, or a negative errno. */
export interface Libbpf {
  readonly calls: Record<keyof typeof PROTOTYPES, Native>
  readonly pointers: Record<keyof typeof POINTER_PROTOTYPES, (...args: unknown[]) => Pointer | null>
  nameOf(program: Pointer): string
  /** Returns the errno of the call of `pointers` that has just returned null. */
  errno(): number
}

let loaded: Libbpf | undefined

/**
 * Loads the library on the first call and silences it: errors carry its messages.
 * Throws an Error when the machine has none.
 */
export function libbpf(): Libbpf {
  if (loaded !== undefined) return loaded
  const koffi: Koffi = createRequire(import.meta.url)('koffi')
  const library = koffi.load('libbpf.so.1')
  library.func('void *libbpf_set_print(void *print)')(null)
  const calls = {} as Libbpf['calls']
  for (const name of Object.keys(PROTOTYPES) as (keyof typeof PROTOTYPES)[])
    calls[name] = library.func(PROTOTYPES[name]) as Native
  const pointers = {} as Libbpf['pointers']
  for (const name of Object.keys(POINTER_PROTOTYPES) as (keyof typeof POINTER_PROTOTYPES)[])
    pointers[name] = library.func(POINTER_PROTOTYPES[name])
  const nameOf = library.func('const char *bpf_program__name(void *program)')
  loaded = { calls, pointers, nameOf, errno: () => koffi.errno() }
  return loaded
}
