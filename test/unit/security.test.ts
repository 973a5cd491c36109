import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { SECURITY_LINES } from './security-lines.ts'

const ROOT = join(import.meta.dirname, '../..')
const PAGE = readFileSync(join(ROOT, 'docs/security.md'), 'utf8')

test('each line of docs/security.md names a test that tries it, and each of these tests is there', (t) => {
  const lines = [...PAGE.matchAll(/^\| ([A-Z]\d+) \|/gm)].map((match) => match[1] ?? '')
  t.is(new Set(lines).size, lines.length)
  t.deepEqual(lines.toSorted(), Object.keys(SECURITY_LINES).toSorted())
  for (const [line, [file, title]] of Object.entries(SECURITY_LINES)) {
    const source = readFileSync(join(import.meta.dirname, file), 'utf8')
    const titles = source.split('\n').filter((text) => /^\s*test\(/.test(text))
    t.true(
      titles.some((text) => text.includes(title)),
      `${line}: no test of ${file} is titled "${title}"`,
    )
  }
})

test('docs/security.md has a reason for each capability and mount that the plugin asks for, and for no other', (t) => {
  const config = JSON.parse(readFileSync(join(ROOT, 'config.json'), 'utf8')) as {
    linux: { capabilities: string[] }
    mounts: { name: string; settable?: string[]; destination: string }[]
  }
  const table = PAGE.slice(PAGE.indexOf('| asked for |')).split('\n\n')[0] ?? ''
  const reasons = table.split('\n').slice(2)
  const named = reasons.join('\n').match(/^\| `(CAP_\w+)`/gm) ?? []
  t.deepEqual(named.map((cell) => cell.slice(3, -1)).toSorted(), config.linux.capabilities.toSorted())
  for (const { name, settable } of config.mounts) {
    const cell = settable === undefined ? `/${name}` : `${name}.source`
    t.true(
      reasons.some((row) => row.startsWith(`| \`${cell}`)),
      `no reason for the mount ${name}`,
    )
  }
})
