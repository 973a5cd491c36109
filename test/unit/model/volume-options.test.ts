import { readFileSync } from 'node:fs'
import test from 'ava'
import { z } from 'zod'
import { WherryError } from '../../../agent/model/errors.ts'
import { storedOptions } from '../../../agent/model/record-schema.ts'
import { DEFAULT_OPTIONS, describeOptions, optionFields, parseOptions } from '../../../agent/model/volume-options.ts'

/** Every option with its default, as `docker volume inspect` shows them. */
const SHOWN = describeOptions(DEFAULT_OPTIONS)
  .split(' ')
  .map((pair) => pair.split('=') as [string, string])

function complaint(given: Record<string, string>): string {
  try {
    parseOptions(given)
  } catch (error) {
    if (error instanceof WherryError && error.code === 'OPTION_INVALID') return error.toLine()
    throw error
  }
  return 'accepted'
}

test('what is shown of options is accepted as it stands, and is stored and sent', (t) => {
  const other = {
    ...DEFAULT_OPTIONS,
    ...{ uid: 999, gid: 7, mode: 0o750, copies: 3, checkpointMs: 90_000 },
    ...({ consistency: 'live', failover: 'manual', onIsolation: 'continue' } as const),
  }
  for (const options of [DEFAULT_OPTIONS, other, { ...other, checkpointMs: null }]) {
    const given = Object.fromEntries(
      describeOptions(options)
        .split(' ')
        .map((pair) => pair.split('=')),
    )
    t.deepEqual(parseOptions(given), options)
    t.deepEqual(storedOptions.parse(options), options)
    t.deepEqual(z.strictObject(optionFields(z)).parse(options), options)
  }
})

test('a record of a time with fewer options has the defaults of the others, and keeps what is newer', (t) => {
  const { uid, gid, mode, ...later } = DEFAULT_OPTIONS
  t.deepEqual(storedOptions.parse({ uid: 1, gid: 2, mode: 3, size: 4 }), {
    ...later,
    uid: 1,
    gid: 2,
    mode: 3,
    size: 4,
  } as never)
  for (const partial of [
    { gid, mode },
    { uid, mode },
    { uid, gid },
  ])
    t.false(storedOptions.safeParse(partial).success)
})

test('a wrong value is refused with an example that is accepted', (t) => {
  for (const [option] of SHOWN) {
    const line = complaint({ [option]: '!' })
    const [, example] = /must be .*, for example (\S+); it is "!"/.exec(line) ?? []
    t.is(complaint({ [option]: example ?? '' }), 'accepted', line)
  }
})

test('the README has every option with its default, and no other', (t) => {
  const page = readFileSync(new URL('../../../README.md', import.meta.url), 'utf8')
  const table = /^\| option \| default \| meaning \|\n.*\n((?:\|.*\n)+)/m.exec(page)?.[1] ?? ''
  const rows = table
    .trimEnd()
    .split('\n')
    .map((row) => row.split('|').map((cell) => cell.trim()))
  const described = rows.flatMap(([, names = '', defaults = '']) => {
    const values = defaults.replaceAll('`', '').split(', ')
    return names.split(', ').map((name, index) => [name.replaceAll('`', ''), values[index]])
  })
  t.deepEqual(described, SHOWN)
})
