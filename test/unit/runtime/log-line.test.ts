import test from 'ava'
import { pino } from 'pino'
import { WherryError } from '../../../agent/model/errors.ts'
import { describeError, formatLine } from '../../../agent/runtime/log-line.ts'

/** The line of one event. */
function lineOf(level: 'debug' | 'info' | 'error', fields: object, event: string): string {
  const lines: string[] = []
  const log = pino(
    {
      level: 'debug',
      base: { part: 'agent' },
      timestamp: () => ',"time":"2026-01-02T03:04:05.678Z"',
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: describeError },
    },
    { write: (json) => void lines.push(formatLine(json)) },
  )
  log[level](fields, event)
  return lines.join('')
}

test('a line begins with one word, level, time and part; then the event and its fields', (t) => {
  t.is(
    lineOf('info', { volume: 'data', waitMs: 12, host: 'h2 (10.0.0.2)', hosts: ['h1', 'h3'], none: null }, 'mounted'),
    "wherry INFO 2026-01-02T03:04:05.678Z agent: mounted volume=data waitMs=12 host='h2 (10.0.0.2)' hosts='h1, h3'\n",
  )
})

test('an error with a code has no stack, whatever its level; its cause is named unless the text has it', (t) => {
  const cause = new Error('EIO: read')
  const error = new WherryError('DISK_FULL', 'The disk is full.', { hint: 'Make room.', cause })
  const line = lineOf('error', { err: error, volume: 'data' }, 'checkpoint failed')
  t.regex(line, /checkpoint failed volume=data code=DISK_FULL err='The disk is full. Make room.' cause='EIO: read'\n$/)
  const known = new WherryError('VOLUME_NOT_FOUND', 'There is no volume x.', { cause: new Error('no volume x') })
  const refused = lineOf('info', { code: known.code, err: known }, 'call refused')
  t.regex(refused, /call refused code=VOLUME_NOT_FOUND err='There is no volume x.'\n$/)
})

test('an unexpected error has its stack at level ERROR only, and all of it on the line', (t) => {
  const loud = lineOf('error', { err: new TypeError('x is not a function') }, 'request failed')
  t.regex(loud, /err='x is not a function' stack='TypeError: x is not a function <- .*log-line\.test\.ts.*'\n$/)
  t.notRegex(lineOf('debug', { err: new TypeError('x is not a function') }, 'scan failed'), /stack/)
  t.is(loud.indexOf('\n'), loud.length - 1)
})

test('no name breaks a line or makes another one; double quotes, which the engine escapes, are none of its characters', (t) => {
  const hostile = 'a\nwherry ERROR 2026 agent: forged\u001b[2J "x" it\'s'
  const line = lineOf('info', { volume: hostile }, 'held')
  t.is(line.indexOf('\n'), line.length - 1)
  t.regex(line, /volume='a wherry ERROR 2026 agent: forged \[2J `x` it`s'/)
  t.true(lineOf('info', { text: 'y'.repeat(100_000) }, 'long').length < 5_000)
})
