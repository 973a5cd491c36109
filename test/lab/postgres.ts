import type { Host } from '../../lab/host.ts'
import { postgres, postgresPrograms } from '../../lab/images.ts'
import type { Lab } from '../../lab/lab.ts'
import { query } from '../../lab/ledger.ts'
import { until } from '../../lab/poll.ts'
import { changeSwarm } from '../../lab/swarm.ts'
import { agentOf, type LabGround } from './fixture.ts'

export const DB_SERVICE = 'db'
export const DB_VOLUME = 'pgdata'
const DATA = '/var/lib/postgresql/data'
const START_TIMEOUT_MS = 90_000
/** Of the server that reads what was set aside, beside the one that serves. */
const ASIDE_PORT = 5433
/** What PostgreSQL says of data that it cannot use. */
const BROKEN =
  /PANIC|invalid page|corrupt|could not (?:read|access|open|locate) (?:a|file|block|relation|WAL)|missing chunk/

/** Starts PostgreSQL as a Swarm service on a Wherry volume with a table for a Ledger; returns the host that serves. */
export async function startPostgres({ lab, h1 }: LabGround): Promise<Host> {
  const image = await lab.image(postgres)
  await Promise.all(lab.hosts.map((host) => host.docker(['pull', '--quiet', image])))
  const mount = `type=volume,source=${DB_VOLUME},destination=${DATA},volume-driver=wherry`
  const options = ['--name', DB_SERVICE, '--network', 'host', '--mount', mount, '--detach', '--no-resolve-image']
  await changeSwarm(h1, ['service', 'create', ...options, image])
  const host = await until(
    'PostgreSQL answers',
    async () => {
      const answers = await Promise.allSettled(lab.hosts.map((one) => query(lab, one, 'select 1')))
      return lab.hosts[answers.findIndex(({ status }) => status === 'fulfilled')]
    },
    { timeoutMs: START_TIMEOUT_MS },
  )
  await query(lab, host, 'create table ledger (n bigint primary key, host text)')
  return host
}

/** The ledger's rows that PostgreSQL on this host has: number and the host that took it in. */
export async function rowsOf(lab: Lab, host: Host, port?: number): Promise<Map<number, string>> {
  const lines = (await query(lab, host, 'select n, host from ledger', port)).split('\n')
  return new Map(lines.filter((line) => line !== '').map(rowOf))
}

function rowOf(line: string): [number, string] {
  const [number, host = ''] = line.split('|')
  return [Number(number), host]
}

/** Reads every table and index whole and compares them with each other; rejects with what is broken. */
export async function checkWhole(lab: Lab, host: Host): Promise<void> {
  const options = ['--install-missing', '--heapallindexed', '--parent-check', '--all']
  await lab.exec([`${postgresPrograms()}/pg_amcheck`, '-h', host.address, '-U', 'postgres', ...options])
}

/** What the server on this host has printed since its container started. */
export async function serverLog(host: Host): Promise<string> {
  const { stdout: ids } = await host.docker(['ps', '-q', '--filter', `name=${DB_SERVICE}`])
  const { stdout, stderr } = await host.docker(['logs', ids.trim()])
  return `${stdout}${stderr}`
}

/** Lines of a server's log that speak of broken data. */
export function brokenLines(log: string): string[] {
  return log.split('\n').filter((line) => BROKEN.test(line))
}

/**
 * The ledger's rows in the newest tree that this host has put aside, read by a PostgreSQL of its own from a copy of
 * it.
 */
export async function rowsAside({ lab }: LabGround, host: Host): Promise<Map<number, string>> {
  await using agent = agentOf(host)
  const { id, diverged } = await agent.get(DB_VOLUME)
  const tree = `${host.stateDir}/volumes/${id}/diverged/${diverged.at(-1)?.name}/data`
  const copy = `${host.directory}/aside`
  await host.exec(['cp', '--archive', tree, copy])
  const server = ['--name', 'aside', '--network', 'host', '-v', `${copy}:${DATA}`, await lab.image(postgres)]
  await host.docker(['run', '--detach', ...server, '-p', String(ASIDE_PORT)])
  try {
    return await until('PostgreSQL reads what was put aside', () => rowsOf(lab, host, ASIDE_PORT))
  } finally {
    await host.docker(['rm', '--force', 'aside'])
  }
}
