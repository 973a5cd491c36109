import { dirname, join } from 'node:path/posix'

/** One import: who imports what, whether only its types, and whether late. Paths are relative to the repository. */
export interface Import {
  readonly from: string
  readonly to: string
  readonly typeOnly: boolean
  readonly late: boolean
}

const STATEMENT = /^\s*(?:import|export)\s+(type\s+)?[^'"]*?from\s+['"]([^'"]+)['"]|^\s*import\s+['"]([^'"]+)['"]/gm
const EXPRESSION = /(typeof\s+)?\b(?:import|require)\(\s*['"]([^'"]+)['"]/g

/** All imports of a source text. */
export function importsOf(file: string, source: string): Import[] {
  const resolve = (name: string) => (name.startsWith('.') ? join(dirname(file), name) : name)
  const statements = [...source.matchAll(STATEMENT)].map(([, type, named, bare]) => ({
    from: file,
    to: resolve(named ?? bare ?? ''),
    typeOnly: type !== undefined,
    late: false,
  }))
  const expressions = [...source.matchAll(EXPRESSION)].map(([, type, name = '']) => ({
    from: file,
    to: resolve(name),
    typeOnly: type !== undefined,
    late: type === undefined,
  }))
  return [...statements, ...expressions]
}

/** A folder with its place among its neighbours: higher ones may import lower ones. `top`: files above all folders. */
interface Floor {
  readonly levels: Readonly<Record<string, number>>
  /** Files beside the folders that may import each of them. All other files beside them are below them. */
  readonly top: readonly string[]
}

/** docs/architecture.md, "The house". Folders on one level do not know each other. */
const FLOORS: Readonly<Record<string, Floor>> = {
  agent: {
    levels: {
      api: 7,
      metrics: 7,
      mobility: 6,
      mover: 6,
      registry: 5,
      bus: 5,
      docker: 5,
      fence: 5,
      transfer: 5,
      store: 5,
      host: 4,
      runtime: 3,
      sys: 2,
      model: 1,
    },
    top: ['main.ts'],
  },
  'agent/mobility': {
    levels: {
      peer: 7,
      volume: 6,
      placement: 5,
      hold: 4,
      swarm: 4,
      failover: 3,
      recovery: 2,
      checkpoint: 2,
      replication: 2,
      lease: 2,
      record: 1,
    },
    top: ['mobility.ts', 'create-context.ts', 'health.ts', 'reconcile.ts'],
  },
  'agent/store': {
    levels: {
      spool: 8,
      apply: 8,
      verify: 7,
      stage: 7,
      scan: 6,
      disk: 5,
      changes: 5,
      snapshot: 4,
      inode: 3,
      workers: 2,
      manifest: 2,
      blocks: 1,
      tracker: 1,
    },
    top: ['store.ts', 'disk-store.ts', 'volume.ts', 'recovery.ts'],
  },
  'agent/transfer': { levels: { receive: 4, send: 3, connection: 2, wire: 1 }, top: [] },
}
const CLI_MAY_USE = [
  'agent/api/client.ts',
  'agent/api/contract.ts',
  'agent/api/format.ts',
  'agent/model/errors.ts',
  'agent/model/volume-options.ts',
  'agent/host/paths.ts',
]
const PLUGIN_MAY_USE = [
  'agent/api/client.ts',
  'agent/api/contract.ts',
  'agent/api/http.ts',
  'agent/api/input.ts',
  'agent/api/format.ts',
  'agent/runtime/clock.ts',
  'agent/host/config.ts',
  'agent/docker/contract.ts',
  'agent/docker/engine.ts',
  'agent/model/errors.ts',
  'agent/fence/contract.ts',
  'agent/fence/freezer-files.ts',
  'agent/fence/freezer.ts',
  'agent/fence/frozen-notes.ts',
  'agent/fence/guard-file.ts',
  'agent/fence/pauses.ts',
  'agent/fence/thaw-left-over.ts',
  'agent/fence/watchdog.ts',
  'agent/fence/watchdog-messages.ts',
  'agent/host/agent-end.ts',
  'agent/host/known-names.ts',
  'agent/runtime/log.ts',
  'agent/runtime/repeats.ts',
  'agent/runtime/restart-loop.ts',
  'agent/model/model.ts',
  'agent/model/volume-options.ts',
  'agent/host/paths.ts',
]
const PACKAGE_HOMES: Readonly<Record<string, readonly string[]>> = {
  koffi: ['agent/sys/'],
  nats: ['agent/bus/', 'agent/registry/'],
  dockerode: ['agent/docker/'],
  koa: ['plugin/', 'agent/api/'],
  '@koa/router': ['plugin/', 'agent/api/'],
  'prom-client': ['agent/metrics/'],
  commander: ['cli/'],
  '@peculiar/x509': ['agent/bus/'],
}

/** What is wrong with an import of shipped code; null when nothing is. */
export function complaintAbout(found: Import): string | null {
  const line = `${found.from} imports ${found.to}`
  if (!/^(agent|plugin|cli|test|scripts)\//.test(found.to)) {
    // In the bundle, a CommonJS package that is imported late has a default export only.
    if (found.late) return `${line} late: import one of our files late, which imports the package`
    const homes = PACKAGE_HOMES[found.to]
    return homes === undefined || homes.some((home) => found.from.startsWith(home))
      ? null
      : `${line}: that package is used in ${homes.join(' and ')} only`
  }
  if (found.from.startsWith('plugin/')) {
    return found.to.startsWith('plugin/') || PLUGIN_MAY_USE.includes(found.to)
      ? null
      : `${line}: the plugin knows nothing but the agent's API and its watchdog`
  }
  if (found.from.startsWith('cli/')) {
    return found.to.startsWith('cli/') || CLI_MAY_USE.includes(found.to)
      ? null
      : `${line}: the command knows nothing but the agent's API`
  }
  if (!found.to.startsWith('agent/')) return `${line}: the agent is below that`
  return isDownward(found) ? null : `${line}: imports point down`
}

function isDownward({ from, to, typeOnly }: Import): boolean {
  const floor = floorOf(from, to)
  const [own, other] = [placeIn(floor, from), placeIn(floor, to)]
  const step = own.level - other.level
  if (own.folder === null && other.folder === null) return own.level >= other.level
  if (step > 0 || own.folder === other.folder) return true
  const isContract = typeOnly && /\/(contract|tree-contract)\.ts$/.test(to)
  return floor === 'agent' && step === 0 && (isContract || (own.folder === 'registry' && other.folder === 'bus'))
}

/** The innermost floor that has both files on it. */
function floorOf(from: string, to: string): string {
  const inner = Object.keys(FLOORS).filter((floor) => [from, to].every((file) => file.startsWith(`${floor}/`)))
  return inner.sort((a, b) => b.length - a.length)[0] ?? 'agent'
}

/** Where a file is on a floor: files beside its folders are below all of them, those named as its top above. */
function placeIn(floor: string, file: string): { readonly folder: string | null; readonly level: number } {
  const { levels, top } = FLOORS[floor] ?? { levels: {}, top: [] }
  const path = file.slice(floor.length + 1)
  const folder = path.includes('/') ? path.slice(0, path.indexOf('/')) : null
  if (folder === null) return { folder, level: top.includes(path) ? Number.POSITIVE_INFINITY : 0 }
  const level = levels[folder]
  if (level === undefined) throw new Error(`${floor}/${folder} has no place in the house yet: add it to FLOORS`)
  return { folder, level }
}

const EXPORTED = /^export (?:async |abstract )*(?:function\*?|class|interface|type|const|let) (\w+)/gm

/** Names that several files declare and export, with those files. Overloads within one file count once. */
export function namesExportedTwice(
  files: readonly { readonly file: string; readonly source: string }[],
): Readonly<Record<string, readonly string[]>> {
  const homes = new Map<string, Set<string>>()
  for (const { file, source } of files) {
    for (const [, name = ''] of source.matchAll(EXPORTED)) homes.set(name, (homes.get(name) ?? new Set()).add(file))
  }
  const twice = [...homes].filter(([, found]) => found.size > 1)
  return Object.fromEntries(twice.map(([name, found]) => [name, [...found]]))
}

/** Words on -ing that are nouns of their own. */
const NOUNS: readonly string[] = ['setting', 'string', 'ring', 'thing']

/** Whether a file is named by a gerund alone. "missing-content.ts" is not: its noun is the content. */
export function isGerund(file: string): boolean {
  const [word = ''] = file.slice(file.lastIndexOf('/') + 1).split('.')
  return /^[a-z]+ing$/.test(word) && !NOUNS.includes(word)
}

/** Circles of files that import each other, also only types; each as the files on the way round. */
export function circlesOf(imports: readonly Import[]): string[][] {
  const next = Map.groupBy(imports, ({ from }) => from)
  const done = new Set<string>()
  const way: string[] = []
  const circles: string[][] = []
  const visit = (file: string): void => {
    if (way.includes(file)) circles.push(way.slice(way.indexOf(file)))
    if (way.includes(file) || done.has(file)) return
    way.push(file)
    for (const { to } of next.get(file) ?? []) visit(to)
    way.pop()
    done.add(file)
  }
  for (const file of next.keys()) visit(file)
  return circles
}
