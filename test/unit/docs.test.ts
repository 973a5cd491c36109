import { existsSync, globSync, readFileSync, statSync } from 'node:fs'
import test from 'ava'
import type { Command } from 'commander'
import { Registry } from 'prom-client'
import { ENDPOINTS } from '../../agent/api/endpoints.ts'
import { Counts } from '../../agent/metrics/counts.ts'
import { Gauges } from '../../agent/metrics/gauges.ts'
import { DEFAULT_OPTIONS, describeOptions } from '../../agent/model/volume-options.ts'
import { createProgram } from '../../cli/program.ts'
import {
  brokenLinks,
  countWords,
  glossaryFaults,
  longLinesOfCode,
  longLinesOfDoc,
  missingPaths,
  SENTENCE_MAX_WORDS,
  SENTENCE_USUAL_WORDS,
  sentencesOf,
} from './docs.ts'

/** So many of all sentences are within the usual length. */
const USUAL_SHARE = 0.95

const cwd = new URL('../../', import.meta.url).pathname
const find = (...patterns: string[]) =>
  globSync(patterns, { cwd, exclude: ['node_modules', 'build', '.git'] })
    .filter((file) => statSync(`${cwd}${file}`).isFile())
    .toSorted()
const read = (file: string) => readFileSync(`${cwd}${file}`, 'utf8')
const readIfThere = (file: string) => {
  if (!existsSync(`${cwd}${file}`)) return null
  return statSync(`${cwd}${file}`).isFile() ? read(file) : ''
}

const DOCS = find('*.md', 'docs/**/*.md')
const CODE = [
  ...find('{agent,bench,cli,lab,plugin,scripts,test}/**/*.{ts,mjs,c,sh,pl,py}'),
  ...find('scripts/**/*').filter((file) => read(file).startsWith('#!')),
]

test('sentences of the docs are short: most within 30 words, none above 45', (t) => {
  const sentences = DOCS.flatMap((file) =>
    sentencesOf(read(file)).map((text) => ({ file, text, words: countWords(text) })),
  )
  t.true(sentences.length > 500)
  const isTooLong = ({ words }: { words: number }) => words > SENTENCE_MAX_WORDS
  t.deepEqual(
    sentences.filter(isTooLong).map(({ file, text, words }) => `${file}: ${words} words: ${text}`),
    [],
  )
  const usual = sentences.filter(({ words }) => words <= SENTENCE_USUAL_WORDS)
  t.true(usual.length >= USUAL_SHARE * sentences.length, `${usual.length} of ${sentences.length}`)
})

test('a sentence is measured as a reader meets it', (t) => {
  const lengths = (markdown: string) => sentencesOf(markdown).map(countWords)
  t.deepEqual(lengths('One two. Three (four)! "Five six?" Seven'), [2, 2, 2, 1])
  t.deepEqual(lengths('One `two three.four. Five` six\nseven [eight nine](http://a.b/c_d).\n\nTen'), [6, 1])
  t.deepEqual(lengths('# Not this\n\n- One two\n- Three\n  four, e.g. five\n\n1. Six - 7'), [2, 4, 2])
  t.deepEqual(
    lengths('```\nnot this\n```\n\n    nor this\n\n| nor | this |\n\n<p>\n\n<!-- nor\nthis -->\n\n> One **two**'),
    [2],
  )
  const long = `${'word '.repeat(46)}.`
  t.deepEqual(lengths(`Short. ${long}`), [1, 46])
})

/** How each command below one is called: "ls", "trash empty". */
function commandsOf(group: Command): string[] {
  return group.commands.flatMap((command) => {
    const below = commandsOf(command).map((name) => `${command.name()} ${name}`)
    return below.length === 0 ? [command.name()] : below
  })
}

test('no line is longer than 120 columns', (t) => {
  t.true(CODE.length > 500)
  t.deepEqual(
    DOCS.flatMap((file) => longLinesOfDoc(file, read(file))),
    [],
  )
  t.deepEqual(
    CODE.flatMap((file) => longLinesOfCode(file, read(file))),
    [],
  )
})

test('the check of lines finds what it is there for', (t) => {
  const [half, word] = ['x'.repeat(60), 'x'.repeat(121)]
  t.deepEqual(longLinesOfCode('a.ts', `one\n${half} ${half}`), ['a.ts:2: 121 columns'])
  const title = `test('${half} ${half}', async (t) => {`
  t.deepEqual(longLinesOfCode('a.test.ts', title), [])
  t.deepEqual(longLinesOfCode('a.ts', title), ['a.ts:1: 144 columns'])
  t.deepEqual(longLinesOfCode('a.test.ts', `  t.log('${half} ${half}')`), ['a.test.ts:1: 132 columns'])
  t.deepEqual(longLinesOfCode('a.ts', `${half} ${half.slice(1)}\n${'\u{1f4a5}'.repeat(59)} ${half}`), [])
  t.deepEqual(longLinesOfDoc('a.md', `- ${half} ${half}\n| ${half} | ${half} |\n\n\`\`\`\n${half} ${half}`), [
    'a.md:1: 123 columns',
    'a.md:5: 121 columns',
  ])
  t.deepEqual(longLinesOfDoc('a.md', `${word}\n* [${word}](b.md)\n1. ${word}`), [])
})

test('links lead to files and headings that are there', (t) => {
  const broken = (file: string) => brokenLinks(file, read(file), readIfThere)
  t.deepEqual(Object.fromEntries(DOCS.map((file) => [file, broken(file)]).filter(([, links]) => links?.length)), {})
  const others: Readonly<Record<string, string>> = { 'README.md': '# Try `it` twice, now', 'docs/b.md': '# B\n\n## B' }
  const look = (file: string) => others[file] ?? null
  const right = '[a](b.md) [b](../README.md#try-it-twice-now) [c](#own) [d](b.md#b-1) [e](https://a.b/c) `[f](g)`'
  t.deepEqual(brokenLinks('docs/a.md', `${right}\n\n# Own\n\n\`\`\`\n[g](h)`, look), [])
  const wrong = ['c.md', '../b.md', 'b.md#b-2', '#other']
  const links = wrong.map((target) => `[a](${target})`).join(' ')
  t.deepEqual(brokenLinks('docs/a.md', links, look), wrong)
})

test('files and folders that the docs name are there', (t) => {
  const paths = find('**/*')
  const missing = Object.fromEntries(DOCS.map((file) => [file, missingPaths(read(file), paths)]))
  t.deepEqual(Object.fromEntries(Object.entries(missing).filter(([, names]) => names.length > 0)), {})
  const some = ['agent/store/store.ts', 'test/unit/a.test.ts', 'scripts/demo', 'docs/a.md']
  const right =
    '`agent/store/` `agent/store` `store/store.ts` `a.test.ts` `scripts/demo` `docs/a.md` `volume.json` `docs/*.md`'
  t.deepEqual(missingPaths(`${right} \`docker rm\` agent/none.ts\n\n\`\`\`\n\`agent/none.ts\`\n\`\`\``, some), [])
  const wrong = ['agent/none.ts', 'agent/stor', 'ore.ts', 'scripts/dem', 'test/lab/', 'b.md']
  t.deepEqual(missingPaths(wrong.map((name) => `\`${name}\``).join(' '), some), wrong)
})

test('every command, route of the API, metric and volume option is described', (t) => {
  const docs = DOCS.map(read).join('\n')
  const notSaid = (names: readonly string[], pattern: (name: string) => RegExp, text = docs) =>
    names.filter((name) => !pattern(name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).test(text))

  const commands = commandsOf(createProgram(() => async () => {}))
  t.true(commands.length > 5)
  t.deepEqual(
    notSaid(commands, (name) => new RegExp(`\\bwherry ${name}\\b`)),
    [],
  )
  t.deepEqual(
    notSaid(['nothing'], (name) => new RegExp(`\\bwherry ${name}\\b`)),
    ['nothing'],
  )

  const routes = Object.values(ENDPOINTS).map(({ method, path }) => `${method} ${path}`)
  t.true(routes.length > 10)
  t.deepEqual(
    notSaid(routes, (route) => new RegExp(`\`${route}\``)),
    [],
  )

  const registry = new Registry()
  const sources = [new Counts(registry), new Gauges(registry)]
  const metrics = registry.getMetricsAsArray().map(({ name }) => name)
  t.true(metrics.length > sources.length)
  const inRow = (name: string) => new RegExp(`^\\| \`${name}\` \\|`, 'm')
  t.deepEqual(notSaid(metrics, inRow, read('docs/metrics.md')), [])

  const options = describeOptions(DEFAULT_OPTIONS)
    .split(' ')
    .map((pair) => pair.split('=')[0] ?? '')
  t.true(options.length > 5)
  t.deepEqual(notSaid(options, inRow, read('docs/settings.md')), [])
})

test('the glossary has each term once, in order', (t) => {
  t.deepEqual(glossaryFaults(read('docs/glossary.md')), [])
  t.deepEqual(glossaryFaults('- **B**: one\n- **a**: two\n- **b**: three'), [
    'a stands behind b',
    'b stands there twice',
  ])
  t.deepEqual(glossaryFaults('Nothing.'), ['it has no terms'])
})
