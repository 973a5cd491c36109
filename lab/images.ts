import {
  chmodSync,
  chownSync,
  copyFileSync,
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { run } from './command.ts'
import type { ImageDefinition } from './image.ts'

const BUSYBOX = '/usr/bin/busybox'
const POSTGRES_ENTRYPOINT = fileURLToPath(new URL('postgres-entrypoint.sh', import.meta.url))
/** As in Docker's own PostgreSQL image. */
const POSTGRES_UID = 999
const POSTGRES_PROGRAMS = ['initdb', 'pg_ctl', 'pg_controldata', 'pg_isready', 'pgbench', 'postgres', 'psql']

/** The owner of the data in the image with data. */
const SEEDED_UID = 70

/** Debian's redis-server is the same program by another name. */
const REDIS = '/usr/bin/redis-check-rdb'
const DATABASE_PROGRAMS = [
  '/usr/sbin/mariadbd',
  '/usr/bin/mariadb',
  '/usr/bin/mariadb-check',
  REDIS,
  '/usr/bin/redis-cli',
  '/usr/bin/sqlite3',
  '/usr/bin/etcd',
  '/usr/bin/etcdctl',
]
const MARIADB_SHARE = '/usr/share/mysql'

/** A shell and the usual small tools. */
export const busybox: ImageDefinition = {
  name: 'busybox',
  key: () => stamp(BUSYBOX),
  config: { Cmd: ['sh'], Env: ['PATH=/bin'] },
  build: addBusybox,
}

/** Busybox with data at /data, as many images have where a volume is mounted: Docker copies it into an empty volume. */
export const seeded: ImageDefinition = {
  name: 'seeded',
  key: () => stamp(BUSYBOX),
  config: { Cmd: ['sh'], Env: ['PATH=/bin'] },
  build: addSeeded,
}

/**
 * PostgreSQL of the machine's Debian with psql and pgbench: mount a volume at /var/lib/postgresql/data; anyone may
 * connect as postgres; arguments go to the server (`-c max_connections=20`).
 */
export const postgres: ImageDefinition = {
  name: 'postgres',
  key: () =>
    `${stamp(BUSYBOX)} ${stamp(`${postgresHome()}/bin/postgres`)} ${readFileSync(POSTGRES_ENTRYPOINT, 'utf8')}`,
  config: {
    Entrypoint: ['/entrypoint.sh'],
    // Not the volume's root: initdb wants a directory that holds nothing else, ever.
    Env: ['PATH=/bin:/usr/lib/postgresql/bin', 'PGDATA=/var/lib/postgresql/data/pgdata', 'PGUSER=postgres'],
    // Fast shutdown; at SIGTERM it would wait until the last client has left.
    StopSignal: 'SIGINT',
  },
  build: addPostgres,
}

/** MariaDB, Redis, SQLite and etcd of the machine's Debian, each with its own check: see test/lab/databases.ts. */
export const databases: ImageDefinition = {
  name: 'databases',
  key: () => [BUSYBOX, ...DATABASE_PROGRAMS].map(stamp).join(' '),
  config: { Cmd: ['sh'], Env: ['PATH=/bin:/usr/bin:/usr/sbin', 'ETCDCTL_API=3'] },
  build: addDatabases,
}

async function addBusybox(root: string): Promise<void> {
  mkdirSync(`${root}/bin`)
  mkdirSync(`${root}/tmp`)
  chmodSync(`${root}/tmp`, 0o1777)
  copyFileSync(BUSYBOX, `${root}/bin/busybox`)
  const { stdout } = await run(BUSYBOX, ['--list'])
  for (const applet of stdout.split('\n')) {
    if (applet !== '' && applet !== 'busybox') symlinkSync('busybox', `${root}/bin/${applet}`)
  }
  mkdirSync(`${root}/etc`)
  writeFileSync(`${root}/etc/passwd`, 'root:x:0:0:root:/root:/bin/sh\n')
  writeFileSync(`${root}/etc/group`, 'root:x:0:\n')
}

async function addSeeded(root: string): Promise<void> {
  await addBusybox(root)
  mkdirSync(`${root}/data`)
  writeFileSync(`${root}/data/seed`, 'of the image\n')
  for (const path of [`${root}/data`, `${root}/data/seed`]) chownSync(path, SEEDED_UID, SEEDED_UID)
}

async function addPostgres(root: string): Promise<void> {
  await addBusybox(root)
  const user = `postgres:x:${POSTGRES_UID}`
  writeFileSync(`${root}/etc/passwd`, `${user}:${POSTGRES_UID}:postgres:/tmp:/bin/sh\n`, { flag: 'a' })
  writeFileSync(`${root}/etc/group`, `${user}:\n`, { flag: 'a' })
  copyFileSync(POSTGRES_ENTRYPOINT, `${root}/entrypoint.sh`)

  // The server finds its share and lib directories relative to its own path, so everything stays where it was.
  const home = postgresHome()
  const programs = POSTGRES_PROGRAMS.map((name) => `${home}/bin/${name}`)
  // Without the compiler for queries: it brings 100 MB of LLVM, and the server does without it.
  const modules = globSync(`${home}/lib/*.so`).filter((path) => !basename(path).startsWith('llvmjit'))
  for (const file of [...programs, ...modules, ...(await librariesOf(programs))]) copyInto(root, file)
  const share = `/usr/share/postgresql/${basename(home)}`
  cpSync(share, `${root}${share}`, { recursive: true, dereference: true })
  symlinkSync(`${basename(home)}/bin`, `${root}/usr/lib/postgresql/bin`)

  mkdirSync(`${root}/var/run/postgresql`, { recursive: true })
  chownSync(`${root}/var/run/postgresql`, POSTGRES_UID, POSTGRES_UID)
}

async function addDatabases(root: string): Promise<void> {
  await addBusybox(root)
  const programs = [...DATABASE_PROGRAMS, ...(await librariesOf(DATABASE_PROGRAMS))]
  for (const file of programs) copyInto(root, file)
  for (const name of ['redis-server', 'redis-check-aof']) symlinkSync('redis-check-rdb', `${root}/usr/bin/${name}`)
  const [messages, tables] = [`${MARIADB_SHARE}/english`, globSync(`${MARIADB_SHARE}/mysql_system_tables*.sql`)]
  for (const path of [messages, `${MARIADB_SHARE}/charsets`]) cpSync(path, `${root}${path}`, { recursive: true })
  for (const file of tables) copyInto(root, file)
}

/**
 * Where this machine's PostgreSQL has its programs; started from there, a client spares the wrapper in /usr/bin,
 * which takes ten times as long.
 */
export function postgresPrograms(): string {
  return `${postgresHome()}/bin`
}

/** The newest PostgreSQL that Debian has installed here. */
function postgresHome(): string {
  const versions = globSync('/usr/lib/postgresql/*/bin/postgres').map((path) => dirname(dirname(path)))
  const newest = versions.sort((a, b) => Number(basename(b)) - Number(basename(a)))[0]
  if (newest === undefined) throw new Error('PostgreSQL is not installed here; run scripts/setup lab.')
  return newest
}

/** Shared libraries and the loader, at the paths where they are looked for. */
async function librariesOf(programs: readonly string[]): Promise<Set<string>> {
  const { stdout } = await run('ldd', programs)
  return new Set([...stdout.matchAll(/\s(\/[^\s:]+) \(0x/g)].map((match) => match[1] ?? ''))
}

function copyInto(root: string, file: string): void {
  mkdirSync(dirname(`${root}${file}`), { recursive: true })
  copyFileSync(file, `${root}${file}`)
}

/** Tells one build of a program from another. */
function stamp(file: string): string {
  if (!existsSync(file)) throw new Error(`${file} is missing; run scripts/setup lab.`)
  const { size, mtimeMs } = statSync(file)
  return `${file} ${size} ${mtimeMs}`
}
