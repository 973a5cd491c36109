import { dirname, join } from 'node:path/posix'

/** One import statement: who imports what, and whether only its types. Paths are relative to the repository. */
export interface Import {
  readonly from: string
  readonly to: string
  readonly typeOnly: boolean
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
  }))
  const expressions = [...source.matchAll(EXPRESSION)].map(([, type, name = '']) => ({
    from: file,
    to: resolve(name),
    typeOnly: type !== undefined,
  }))
  return [...statements, ...expressions]
}

/** docs/architecture.md, "The house": imports point down. Folders on one level do not know each other. */
const LEVELS: Readonly<Record<string, number>> = {
  api: 4,
  metrics: 4,
  mobility: 3,
  mover: 3,
  registry: 2,
  bus: 2,
  docker: 2,
  fence: 2,
  transfer: 2,
  store: 2,
  sys: 1,
}
/** The same inside the store. A file beside the folders is what all of them share, but for those that know everything. */
const STORE_LEVELS: Readonly<Record<string, number>> = {
  apply: 6,
  spool: 6,
  stage: 5,
  diverged: 4,
  verify: 5,
  capture: 4,
  copies: 3,
  snapshot: 3,
  inode: 2,
  manifest: 1,
  pool: 1,
  tracker: 1,
}
const STORE_TOP = [
  'agent/store/store.ts',
  'agent/store/disk-store.ts',
  'agent/store/volume.ts',
  'agent/store/recovery.ts',
]
const BOTTOM = [
  'agent/model/model.ts',
  'agent/model/errors.ts',
  'agent/host/config.ts',
  'agent/host/setting.ts',
  'agent/host/paths.ts',
  'agent/runtime/durable-file.ts',
  'agent/runtime/fault-point.ts',
  'agent/runtime/keyed-queue.ts',
  'agent/runtime/log.ts',
  'agent/runtime/buffer-pool.ts',
  'agent/model/record-schema.ts',
  'agent/model/volume-options.ts',
  'agent/host/certificates.ts',
]
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
  'agent/host/known-names.ts',
  'agent/runtime/log.ts',
  'agent/model/model.ts',
  'agent/model/volume-options.ts',
  'agent/host/paths.ts',
  'agent/host/setting.ts',
]
const PACKAGE_HOMES: Readonly<Record<string, readonly string[]>> = {
  koffi: ['agent/sys/'],
  nats: ['agent/bus/', 'agent/registry/'],
  dockerode: ['agent/docker/'],
  koa: ['plugin/', 'agent/api/'],
  '@koa/router': ['plugin/', 'agent/api/'],
  'prom-client': ['agent/metrics/'],
}

/** What is wrong with an import of shipped code; null when nothing is. */
export function complaintAbout(found: Import): string | null {
  const line = `${found.from} imports ${found.to}`
  if (!/^(agent|plugin|cli|test|scripts)\//.test(found.to)) {
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
  const own = folderOf(from)
  const other = folderOf(to)
  if (BOTTOM.includes(from)) return BOTTOM.includes(to)
  // The files beside main.ts are parts of the composition root.
  if (own === null || BOTTOM.includes(to)) return true
  if (other === null) return false
  if (own === 'store' && other === 'store') return isDownwardInStore(from, to)
  const step = levelOf(own) - levelOf(other)
  if (own === other || step > 0) return true
  return step === 0 && ((typeOnly && /\/(contract|exchange)\.ts$/.test(to)) || (own === 'registry' && other === 'bus'))
}

function isDownwardInStore(from: string, to: string): boolean {
  if (STORE_TOP.includes(from)) return true
  const [own, other] = [storeFolderOf(from), storeFolderOf(to)]
  if (other === null) return !STORE_TOP.includes(to)
  return own !== null && (own === other || storeLevelOf(own) > storeLevelOf(other))
}

function storeFolderOf(file: string): string | null {
  return /^agent\/store\/([^/]+)\//.exec(file)?.[1] ?? null
}

function storeLevelOf(folder: string): number {
  const level = STORE_LEVELS[folder]
  if (level === undefined)
    throw new Error(`agent/store/${folder} has no place in the house yet: add it to STORE_LEVELS`)
  return level
}

function folderOf(file: string): string | null {
  return /^agent\/([^/]+)\//.exec(file)?.[1] ?? null
}

function levelOf(folder: string): number {
  const level = LEVELS[folder]
  if (level === undefined) throw new Error(`agent/${folder} has no place in the house yet: add it to LEVELS`)
  return level
}
