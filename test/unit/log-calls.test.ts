import { globSync, readFileSync } from 'node:fs'
import test from 'ava'

const cwd = new URL('../../', import.meta.url).pathname

/** Longest event: the fields say the rest. */
const EVENT_MOST_CHARACTERS = 100
/** Names that an event may begin with in capitals. */
const NAMES = /^(Docker|NATS) /

/** One call of a log: its arguments, as they stand in the source. */
interface LogCall {
  readonly where: string
  readonly given: readonly string[]
}

/** Finds the calls of a log in a source, and splits their arguments at the commas between them. */
function logCallsIn(file: string, source: string): LogCall[] {
  const heads = [...source.matchAll(/\blog(?:\?)?(?:\.(?:debug|info|warn|error|fatal)|\[[^\n]*?\])\(/g)]
  return heads.map(({ 0: head, index }) => {
    const line = source.slice(0, index).split('\n').length
    return { where: `${file}:${line}`, given: argumentsFrom(source, index + head.length) }
  })
}

function argumentsFrom(source: string, start: number): string[] {
  const given: string[] = []
  let depth = 0
  let from = start
  let quote = ''
  for (let at = start; at < source.length; at++) {
    const sign = source[at] ?? ''
    if (quote !== '') {
      if (sign === '\\') at++
      else if (sign === quote) quote = ''
    } else if (`'"\``.includes(sign)) quote = sign
    else if ('([{'.includes(sign)) depth++
    else if (depth === 0 && (sign === ',' || sign === ')')) {
      given.push(source.slice(from, at).trim())
      from = at + 1
      if (sign === ')') break
    } else if (')]}'.includes(sign)) depth--
  }
  return given.filter((text) => text !== '')
}

/** What is wrong with a call; null: nothing. */
function complaintOf({ given }: LogCall): string | null {
  const event = given.at(-1) ?? ''
  const texts = [...event.matchAll(/'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"/g)].map(([, one, two]) => one ?? two ?? '')
  if (texts.length === 0 || event.includes('`')) return 'the event is not a plain text: what varies is a field'
  const long = texts.find((text) => text.length > EVENT_MOST_CHARACTERS)
  if (long !== undefined) return `the event has ${long.length} characters`
  if (texts.some((text) => text.includes('"'))) return 'double quotes: the engine escapes them'
  if (texts.some((text) => text.endsWith('.'))) return 'an event is no sentence: no full stop'
  if (texts.some((text) => /^[A-Z]/.test(text) && !NAMES.test(text))) return 'an event begins in lower case'
  if (texts.some((text) => /^(the|a|an) /.test(text))) return 'an event begins with what it is about'
  const fields = given.length > 1 ? (given[0] ?? '') : ''
  if (/\.stack\b|String\(e(rr)?(or)?\)|\be(rr(or)?)?\.message/.test(fields)) return 'an error is the field err, whole'
  return null
}

test('every log call is an event with fields, and gives errors whole, so that expected ones have no stack', (t) => {
  const files = globSync('{agent,plugin,cli}/**/*.ts', { cwd })
  const calls = files.flatMap((file) => logCallsIn(file, readFileSync(`${cwd}/${file}`, 'utf8')))
  t.true(calls.length > 80)
  t.deepEqual(
    calls.flatMap((call) => (complaintOf(call) === null ? [] : [`${call.where}: ${complaintOf(call)}`])),
    [],
  )
})

test('nothing is printed past the log: a line without a level and a name is not found', (t) => {
  const files = globSync('{agent,plugin}/**/*.ts', { cwd })
  const found = files.filter((file) => /\bconsole\./.test(readFileSync(`${cwd}/${file}`, 'utf8')))
  t.deepEqual(found, [])
})

test('the check of log calls finds what it is there for', (t) => {
  const wrong = [
    'log.warn(`NATS: reason`)',
    'log.error(text)',
    "log.info({ volume }, 'Mounted')",
    "log.info({ volume }, 'mounted.')",
    "log.info('the volume is mounted')",
    `log.info('no "such" volume')`,
    "log.warn({ why: error.message }, 'checkpoint failed')",
    "log[level]({ err: String(error) }, 'checkpoint failed')",
    `log.info('${'x'.repeat(101)}')`,
  ]
  for (const source of wrong) t.deepEqual(logCallsIn('a.ts', source).map(complaintOf).map(Boolean), [true], source)
  const right = [
    "log.info({ volume, at: f(a, 'b') }, 'mounted')",
    "log.info({ on }, on ? 'drain started' : 'drain ended')",
    `this.#options.log.warn({ err: error }, "plugin's process does not reply")`,
  ]
  for (const source of right) t.deepEqual(logCallsIn('a.ts', source).map(complaintOf), [null], source)
})
