import { dirname, join, normalize } from 'node:path/posix'

/** House rule for sentences: most are within the first, none is above the second. Words. */
export const SENTENCE_USUAL_WORDS = 30
export const SENTENCE_MAX_WORDS = 45
/** House rule for lines of docs and code. Columns. */
export const LINE_MAX_COLUMNS = 120

const FENCE = /^ *(`{3,}|~{3,})/
const LIST_ITEM = /^\s*(?:[-*+]|\d+\.)\s+/
const LINK = /!?\[((?:[^\][]|\[[^\]]*\])*)\]\(([^)\s]+)(?:\s[^)]*)?\)/g
const CODE = /(`+)(.+?)\1(?!`)/gs
/** A dot that ends no sentence. */
const ABBREVIATION = /\b(e\.g|i\.e|cf|vs|approx|incl)\./gi
/** The end of a sentence, with what closes a quote or a parenthesis. */
const SENTENCE_END = /(?<=[.!?]["'’”)\]*_]*)\s+/

interface Line {
  readonly text: string
  readonly kind: 'text' | 'blank' | 'code' | 'fence' | 'table' | 'heading' | 'html'
}

/** The lines of a Markdown text, each with what it is. */
function linesOf(markdown: string): Line[] {
  let fence: string | null = null
  let isComment = false
  let mayBeCode = true
  return markdown.split('\n').map((text): Line => {
    const [, mark] = FENCE.exec(text) ?? []
    if (fence !== null) {
      if (mark?.startsWith(fence)) fence = null
      return { text, kind: fence === null ? 'fence' : 'code' }
    }
    if (mark !== undefined) {
      fence = mark
      return { text, kind: 'fence' }
    }
    if (isComment || text.trimStart().startsWith('<!--')) {
      isComment = !text.includes('-->')
      return { text, kind: 'html' }
    }
    if (text.trim() === '') return { text, kind: 'blank' }
    if (LIST_ITEM.test(text)) mayBeCode = false
    else if (!/^\s/.test(text)) mayBeCode = true
    if (mayBeCode && /^(?: {4}|\t)/.test(text)) return { text, kind: 'code' }
    if (text.trimStart().startsWith('|')) return { text, kind: 'table' }
    if (/^#{1,6}\s/.test(text)) return { text, kind: 'heading' }
    return { text, kind: /^\s*<\/?[a-z]/i.test(text) ? 'html' : 'text' }
  })
}

/** Paragraphs and list items, each as one line of plain text. A quote counts as what it quotes. */
function paragraphsOf(markdown: string): string[] {
  const paragraphs: string[] = []
  let isOpen = false
  for (const { text, kind } of linesOf(markdown)) {
    const isNew = !isOpen || LIST_ITEM.test(text)
    isOpen = kind === 'text'
    if (kind !== 'text') continue
    const plain = text
      .replace(/^\s*>\s?/, '')
      .replace(LIST_ITEM, '')
      .trim()
    if (isNew) paragraphs.push(plain)
    else paragraphs.push(`${paragraphs.pop() ?? ''} ${plain}`)
  }
  return paragraphs
}

/**
 * The sentences of a Markdown text. Code blocks, tables, headings and HTML are left out.
 * A link counts as its text, code within a line as one word. A paragraph or a list item ends its last sentence.
 */
export function sentencesOf(markdown: string): string[] {
  return paragraphsOf(markdown).flatMap((paragraph) =>
    paragraph
      .replace(CODE, 'code')
      .replace(LINK, '$1')
      .replace(/<[^>\s][^>]*>/g, ' ')
      .replace(ABBREVIATION, '$1')
      .split(SENTENCE_END)
      .filter((sentence) => countWords(sentence) > 0),
  )
}

/** Words of a sentence: what stands between spaces and has a letter or a digit. */
export function countWords(sentence: string): number {
  return sentence.split(/\s+/).filter((word) => /[\p{L}\p{N}]/u.test(word)).length
}

/**
 * Lines above the limit, each as `file:line` and its columns.
 * One that cannot be broken, such as a long address, is none; `isFree` says what else may be longer.
 */
function longLines(file: string, lines: readonly string[], isFree: (index: number) => boolean): string[] {
  return lines.flatMap((text, index) => {
    const columns = Array.from(text).length
    const isOneWord = !/\S\s+\S/.test(text.replace(LIST_ITEM, '').trim())
    return columns <= LINE_MAX_COLUMNS || isOneWord || isFree(index) ? [] : [`${file}:${index + 1}: ${columns} columns`]
  })
}

/** Lines of a Markdown text above the limit. Rows of tables may be longer: Markdown knows no way to break them. */
export function longLinesOfDoc(file: string, markdown: string): string[] {
  const kinds = linesOf(markdown).map(({ kind }) => kind)
  return longLines(file, markdown.split('\n'), (index) => kinds[index] === 'table')
}

/** A test's title stays in one piece, so that it can be searched for. */
const TEST_TITLE = /^\s*(?:test(?:\.\w+)*\()?(['"`]).*\1,/

/** Lines of a program above the limit. Titles of tests may be longer. */
export function longLinesOfCode(file: string, source: string): string[] {
  const lines = source.split('\n')
  const isTest = file.endsWith('.test.ts')
  return longLines(file, lines, (index) => isTest && TEST_TITLE.test(lines[index] ?? ''))
}

/** What a text has outside of code blocks. */
function proseOf(markdown: string): string {
  return linesOf(markdown)
    .filter(({ kind }) => kind !== 'code' && kind !== 'fence')
    .map(({ text }) => text)
    .join('\n')
}

/** The anchors of a text's headings, as GitHub makes them. */
function anchorsOf(markdown: string): Set<string> {
  const anchors = new Set<string>()
  for (const { text, kind } of linesOf(markdown)) {
    if (kind !== 'heading') continue
    const plain = text
      .replace(/^#+\s+/, '')
      .replace(LINK, '$1')
      .replaceAll('`', '')
    const anchor = plain
      .trim()
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .replace(/\s/g, '-')
    let unique = anchor
    for (let count = 1; anchors.has(unique); count++) unique = `${anchor}-${count}`
    anchors.add(unique)
  }
  return anchors
}

/**
 * Links of a text that lead to no file of the repository, or to no heading of it.
 * `read` gives null for what is not there.
 */
export function brokenLinks(file: string, markdown: string, read: (file: string) => string | null): string[] {
  const links = [...proseOf(markdown).replace(CODE, 'code').matchAll(LINK)].map(([, , target = '']) => target)
  return links.filter((target) => {
    if (/^[a-z]+:/i.test(target)) return false
    const [path = '', anchor] = target.split('#')
    const found = path === '' ? markdown : read(normalize(join(dirname(file), path)))
    return found === null || (anchor !== undefined && !anchorsOf(found).has(anchor))
  })
}

/** A name in code that is meant as one of the repository: it begins with a folder of it, or ends as sources do. */
const REPOSITORY_PATH =
  /^(?:(?:agent|bench|cli|docs|lab|plugin|scripts|test)\/[\w./*-]*|[\w.-]+(?:\/[\w.-]+)*\.(?:ts|c|md))$/

/**
 * Names of files and folders that a text has as code and that the repository does not have. A file may be named by the
 * end of its path. `paths`: all files of the repository.
 */
export function missingPaths(markdown: string, paths: readonly string[]): string[] {
  const spans = [...proseOf(markdown).matchAll(CODE)].map(([, , code = '']) => code.trim())
  return spans.filter((name) => {
    if (!REPOSITORY_PATH.test(name) || name.includes('*')) return false
    const isThere = (path: string) => path === name || path.startsWith(`${name.replace(/\/$/, '')}/`)
    return !paths.some((path) => isThere(path) || path.endsWith(`/${name}`))
  })
}

/** What is wrong with the order of a glossary, whose terms stand in bold at the start of list items. */
export function glossaryFaults(markdown: string): string[] {
  const terms = [...markdown.matchAll(/^- \*\*([^*]+)\*\*/gm)].map(([, term = '']) => term.toLowerCase())
  if (terms.length === 0) return ['it has no terms']
  return terms.flatMap((term, index) => {
    if (terms.indexOf(term) !== index) return [`${term} stands there twice`]
    const before = terms[index - 1]
    return before !== undefined && before > term ? [`${term} stands behind ${before}`] : []
  })
}
