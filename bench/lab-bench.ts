import { availableParallelism, loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { benchCheckpoint } from './checkpoint.ts'
import { benchDirty } from './dirty.ts'
import { benchFailover } from './failover.ts'
import type { LabReport, LabSettings } from './lab-report.ts'
import { benchRest } from './rest.ts'
import { benchScale } from './scale.ts'

const BENCHES: Readonly<Record<string, (settings: LabSettings) => Promise<LabReport>>> = {
  checkpoint: benchCheckpoint,
  dirty: benchDirty,
  failover: benchFailover,
  rest: benchRest,
  scale: benchScale,
}
/** Fewer have no median worth the name. */
const MIN_ROUNDS = 3

/**
 * The benches that need real engines, one after the other. The last line is one JSON object. Rejects when something
 * failed.
 */
async function main(): Promise<void> {
  const { rounds, scale, names } = settingsFrom(process.argv.slice(2))
  const figures: Record<string, unknown> = {}
  for (const name of names) {
    const load = loadavg()[0] ?? Number.NaN
    say(`${name}: ${availableParallelism()} cores, load ${load.toFixed(2)}, Node ${process.version}`)
    const report = await BENCHES[name]?.({ rounds, scale, say })
    if (scale !== 1) say(`Scale ${scale}: a try, not the figures that count.`)
    process.stdout.write(`${report?.text}\n\n`)
    figures[name] = { ...report?.figures, load_before: load }
  }
  process.stdout.write(`${JSON.stringify(figures)}\n`)
}

function settingsFrom(args: readonly string[]) {
  const options = { rounds: { type: 'string', default: '3' }, scale: { type: 'string', default: '1' } } as const
  const { values, positionals: names } = parseArgs({ args: [...args], options, allowPositionals: true })
  const rounds = Number(values.rounds)
  const scale = Number(values.scale)
  if (!Number.isInteger(rounds) || rounds < MIN_ROUNDS)
    throw new Error(`--rounds wants a whole number from ${MIN_ROUNDS} on`)
  if (!(scale > 0 && scale <= 1)) throw new Error('--scale wants a number above 0, at most 1')
  const known = Object.keys(BENCHES)
  const unknown = names.find((name) => !known.includes(name))
  if (unknown !== undefined) throw new Error(`${unknown} does not go together with ${known.join(' and ')}`)
  return { rounds, scale, names }
}

function say(line: string): void {
  process.stderr.write(`${line}\n`)
}

await main()
