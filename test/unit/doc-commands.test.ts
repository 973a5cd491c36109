import { readFileSync } from 'node:fs'
import test from 'ava'
import { readCommands } from '../lab/doc-commands.ts'
import { NOT_RUN_HERE, STEPS } from '../lab/doc-steps.ts'

const DOCUMENTS = ['README.md', 'docs/install.md', 'docs/operations.md']

const read = (file: string) => readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8')

test('every command of README, install and operations is run by exactly one step of the lab test', (t) => {
  const claimed = [...STEPS.flatMap(({ commands }) => Object.values(commands)), ...Object.keys(NOT_RUN_HERE)]
  t.deepEqual(
    claimed.filter((text, index) => claimed.indexOf(text) !== index),
    [],
    'claimed twice',
  )
  const documented = DOCUMENTS.flatMap((file) =>
    readCommands(read(file)).map(({ text, line }) => ({ file, line, text })),
  )
  t.true(documented.length > claimed.length / 2)
  t.deepEqual(
    documented.filter(({ text }) => !claimed.includes(text)),
    [],
    'documented and not run',
  )
  const texts = new Set(documented.map(({ text }) => text))
  t.deepEqual(
    claimed.filter((text) => !texts.has(text)),
    [],
    'run and not documented',
  )
})

test('commands are read from fenced blocks, without comments, with continued lines', (t) => {
  const markdown = [
    'Text with `inline code`.',
    '```sh',
    '# a comment',
    'first --flag   # what it does',
    'second one \\',
    '  goes on',
    '```',
    '1. In a list:',
    '   ```',
    '   third x=# y',
    '   ```',
    '```text',
    'output',
    '```',
  ].join('\n')
  t.deepEqual(readCommands(markdown), [
    { text: 'first --flag', line: 4 },
    { text: 'second one goes on', line: 5 },
    { text: 'third x=# y', line: 10 },
  ])
})

test('a block in another language, or one that does not end, is refused', (t) => {
  t.throws(() => readCommands('```bash\nls\n```'), { message: /line 1: a block of bash/ })
  t.throws(() => readCommands('```sh\nls'), { message: /does not end/ })
  t.throws(() => readCommands('```sh\nls \\\n```\n'), { message: /does not end/ })
})
