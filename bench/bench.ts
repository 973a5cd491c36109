import { mkdirSync } from 'node:fs'
import { availableParallelism, loadavg } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { run } from '../lab/command.ts'
import type { Alone } from './alone.ts'
import { CASES, type Case } from './cases.ts'
import { BenchGround } from './ground.ts'
import { reportOf } from './report.ts'
import type { Result } from './result.ts'
import { playRound, type Round } from './round.ts'
import { RSYNC_FLAGS, type RsyncPeer, startDaemonPeer, startSshPeer } from './rsync.ts'
import { WherryPeer } from './wherry.ts'

const ALONE_PROGRAM = fileURLToPath(new URL('alone.ts', import.meta.url))
const CERTS_SCRIPT = fileURLToPath(new URL('../scripts/certs', import.meta.url))
/** Fewer have no median worth the name. */
const MIN_ROUNDS = 3
const TIMEOUT_MS = 10 * 60_000

interface Settings {
  readonly cases: readonly Case[]
  readonly rounds: number
  readonly scale: number
}

function settingsFrom(args: readonly string[]): Settings {
  const options = { rounds: { type: 'string', default: '3' }, scale: { type: 'string', default: '1' } } as const
  const { values, positionals } = parseArgs({ args: [...args], options, allowPositionals: true })
  const rounds = Number(values.rounds)
  const scale = Number(values.scale)
  if (!Number.isInteger(rounds) || rounds < MIN_ROUNDS)
    throw new Error(`--rounds wants a whole number from ${MIN_ROUNDS} on`)
  if (!(scale > 0 && scale <= 1)) throw new Error('--scale wants a number above 0, at most 1')
  const known = CASES.map(({ name }) => name)
  const unknown = positionals.find((name) => !known.includes(name))
  if (unknown !== undefined) throw new Error(`unknown case ${unknown}; there are ${known.join(', ')}`)
  const cases = positionals.length === 0 ? CASES : CASES.filter(({ name }) => positionals.includes(name))
  return { cases, rounds, scale }
}

/** Exit code 1 when something failed or a tree was not copied exactly; a floor that is missed is only reported. */
async function main(): Promise<number> {
  const settings = settingsFrom(process.argv.slice(2))
  await using ground = await BenchGround.start(settings.scale, say)
  say(`${availableParallelism()} cores, load ${loadavg()[0]?.toFixed(2)}, Node ${process.version}`)
  say(`rsync ${RSYNC_FLAGS.join(' ')}, followed by sync -f; caches: warm for all, nothing dirty`)
  const rsyncs = [await startDaemonPeer(ground), await startSshPeer(ground)]
  const results: Result[] = []
  let failed = 0
  for (const which of settings.cases) {
    try {
      results.push({ case: which, rounds: await play(which, settings, ground, rsyncs) })
    } catch (error) {
      failed += 1
      say(`FAILED ${which.name}: ${(error as Error).stack}`)
    }
  }
  const report = reportOf(results, await measureAlone(ground))
  if (settings.scale !== 1) say(`Scale ${settings.scale}: a try, not the figures that count.`)
  process.stdout.write(report)
  return failed === 0 ? 0 : 1
}

async function play(
  which: Case,
  { rounds, scale }: Settings,
  ground: BenchGround,
  rsyncs: readonly RsyncPeer[],
): Promise<Round[]> {
  say(`${which.name}: ${which.what}`)
  try {
    await using wherry = await WherryPeer.start(which, ground)
    await which.prepare({ directory: wherry.source, host: ground.h1, scale })
    const turn = { case: which, ground, scale, wherry, rsyncs }
    if (which.kind !== 'full') await playRound(turn, 0)
    const played: Round[] = []
    for (let round = 1; round <= rounds; round++) {
      const result = await playRound(turn, round)
      played.push(result)
      const times = (['wherry', 'daemon', 'ssh'] as const).map((peer) => `${peer} ${result[peer].seconds.toFixed(2)} s`)
      say(`  round ${round}: ${times.join(', ')}`)
    }
    return played
  } finally {
    // Disk space for the next case.
    const trees = rsyncs.map((peer) => peer.tree(which))
    const states = [ground.h1, ground.h2].map(({ directory }) => `${directory}/state-${which.name}`)
    await run('rm', ['-rf', ...trees, ...states], { timeoutMs: TIMEOUT_MS })
  }
}

async function measureAlone(ground: BenchGround): Promise<Alone> {
  say('the parts alone')
  const { h1, directory, ballast } = ground
  await run(CERTS_SCRIPT, [`${directory}/certs`, h1.address])
  const place = `${h1.directory}/alone`
  mkdirSync(place)
  await run('sync', [], { timeoutMs: TIMEOUT_MS })
  const command = [process.execPath, ALONE_PROGRAM, place, `${directory}/certs/${h1.address}`]
  const { stdout } = await ballast.during(() => h1.exec(command, { timeoutMs: TIMEOUT_MS }))
  return JSON.parse(stdout) as Alone
}

function say(line: string): void {
  process.stderr.write(`${line}\n`)
}

process.exitCode = await main()
