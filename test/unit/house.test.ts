import { globSync, readFileSync } from 'node:fs'
import test from 'ava'
import { DEFAULTS } from '../../agent/host/config.ts'
import { ERROR_STATUS } from '../../agent/model/errors.ts'
import { circlesOf, complaintAbout, importsOf, isGerund, namesExportedTwice } from './house.ts'

const read = (file: string) => readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8')
const cwd = new URL('../../', import.meta.url).pathname

test('imports point down the list of the design, and each outside library has one home', (t) => {
  const files = globSync('{agent,plugin,cli}/**/*.ts', { cwd })
  t.true(files.length > 20)
  const imports = files.flatMap((file) => importsOf(file, read(file)))
  t.true(imports.length > files.length)
  t.deepEqual(
    imports.map(complaintAbout).filter((complaint) => complaint !== null),
    [],
  )
})

test('no files import each other in a circle', (t) => {
  const files = globSync('{agent,plugin,cli}/**/*.ts', { cwd })
  t.deepEqual(circlesOf(files.flatMap((file) => importsOf(file, read(file)))), [])
  const two = [
    ...importsOf('agent/a.ts', "import type { B } from './b.ts'"),
    ...importsOf('agent/b.ts', "import { a } from './a.ts'"),
  ]
  t.deepEqual(circlesOf(two), [['agent/a.ts', 'agent/b.ts']])
})

test('the check of imports finds what it is there for', (t) => {
  const wrong: [string, string][] = [
    ['agent/store/a.ts', "import { x } from '../transfer/y.ts'"],
    ['agent/store/a.ts', "import type { X } from '../transfer/y.ts'"],
    ['agent/store/a.ts', "import { X } from '../transfer/contract.ts'"],
    ['agent/store/a.ts', "import {\n  x,\n  y,\n} from '../mobility/context.ts'"],
    ['agent/bus/a.ts', "export * from '../registry/registry.ts'"],
    ['agent/store/scan/a.ts', "import type { X } from '../stage/y.ts'"],
    ['agent/store/stage/a.ts', "import { x } from '../verify/y.ts'"],
    ['agent/store/apply/a.ts', "import { x } from '../store.ts'"],
    ['agent/store/contract.ts', "import { x } from './disk/record-file.ts'"],
    ['agent/store/workers/a.ts', "import { x } from '../../transfer/y.ts'"],
    ['agent/mobility/record/a.ts', "import { x } from '../hold/y.ts'"],
    ['agent/mobility/hold/a.ts', "import type { X } from '../swarm/y.ts'"],
    ['agent/mobility/context.ts', "import type { X } from './lease/lease.ts'"],
    ['agent/mobility/hold/a.ts', "import { x } from '../reconcile.ts'"],
    ['agent/transfer/wire/a.ts', "import { x } from '../send/y.ts'"],
    ['agent/sys/a.ts', "import '../store/store.ts'"],
    ['agent/mobility/a.ts', "import { x } from '../main.ts'"],
    ['agent/mobility/a.ts', "const x = await import('../main.ts')"],
    ['agent/model/model.ts', "import { x } from '../store/store.ts'"],
    ['agent/api/a.ts', "import { x } from '../../plugin/docker-volume.ts'"],
    ['agent/mobility/a.ts', "import { x } from '../../test/unit/x.ts'"],
    ['plugin/a.ts', "import { x } from '../agent/mobility/contract.ts'"],
    ['plugin/a.ts', "import { x } from '../agent/api/server.ts'"],
    ['cli/a.ts', "import type { X } from '../agent/mobility/contract.ts'"],
    ['cli/a.ts', "import { x } from '../plugin/y.ts'"],
    ['agent/mobility/a.ts', "import type { Msg } from 'nats'"],
    ['agent/store/a.ts', "const koffi = require('koffi')"],
    ['agent/mobility/a.ts', "import Docker from 'dockerode'"],
    ['agent/bus/a.ts', "const x509 = await import('@peculiar/x509')"],
    ['agent/bus/a.ts', "import Koa, { type Context } from 'koa'"],
  ]
  for (const [file, source] of wrong)
    t.deepEqual(importsOf(file, source).map(complaintAbout).map(Boolean), [true], source)
  const right: [string, string][] = [
    ['agent/transfer/a.ts', "import type { TreeReader } from '../store/contract.ts'"],
    ['agent/registry/a.ts', "import { NatsLink } from '../bus/connection.ts'"],
    ['agent/store/a.ts', "import { x } from '../sys/files.ts'"],
    ['agent/store/store.ts', "import { x } from './apply/y.ts'"],
    ['agent/store/apply/a.ts', "import { x } from '../stage/y.ts'"],
    ['agent/store/apply/a.ts', "import { x } from './y.ts'"],
    ['agent/store/workers/a.ts', "import { x } from '../blocks/bitmap.ts'"],
    ['agent/api/a.ts', "import type { Mobility } from '../mobility/contract.ts'"],
    ['agent/mobility/hold/a.ts', "import { x } from '../failover/y.ts'"],
    ['agent/mobility/reconcile.ts', "import { x } from './hold/y.ts'"],
    ['agent/mobility/hold/a.ts', "import { x } from '../errors.ts'"],
    ['agent/main.ts', "import { openStore } from './store/store.ts'"],
    ['plugin/a.ts', "import { x } from '../agent/api/client.ts'"],
    ['cli/a.ts', "import { x } from '../agent/api/client.ts'"],
    ['agent/sys/a.ts', "type Koffi = typeof import('koffi')"],
  ]
  for (const [file, source] of right) t.deepEqual(importsOf(file, source).map(complaintAbout), [null], source)
})

test('every error code is described in docs/errors.md, and no other', (t) => {
  const headings = [...read('docs/errors.md').matchAll(/^### (\w+)$/gm)].map(([, heading]) => heading)
  t.deepEqual(headings.toSorted(), Object.keys(ERROR_STATUS).toSorted())
})

test('every setting is described in docs/settings.md with its default, and no other', (t) => {
  const sections = [...read('docs/settings.md').matchAll(/^### (WHERRY_\w+)\n\nDefault: (?:`(.*?)`|empty)/gm)]
  const described = Object.fromEntries(sections.map(([, name, value]) => [name, value ?? '']))
  t.deepEqual(described, { ...DEFAULTS })
})

test("the plugin's manifest offers every setting with its default, each settable", (t) => {
  const { env } = JSON.parse(read('config.json')) as { env: { name: string; value: string; settable: string[] }[] }
  t.deepEqual(Object.fromEntries(env.map(({ name, value }) => [name, value])), { ...DEFAULTS })
  t.true(env.every(({ settable }) => settable.includes('value')))
})

const codeFiles = () => globSync('{agent,plugin,cli,lab,bench,scripts,test}/**/*.ts', { cwd })

test('an exported name exists once', (t) => {
  const files = codeFiles().map((file) => ({ file, source: read(file) }))
  t.deepEqual(namesExportedTwice(files), {})
  const one = { file: 'a.ts', source: 'export interface Room {}\nexport async function open() {}' }
  const two = { file: 'b.ts', source: 'export class Room {}\nfunction open() {}\nexport { open }' }
  t.deepEqual(namesExportedTwice([one, two]), { Room: ['a.ts', 'b.ts'] })
})

test('a file is named by a noun, not by a gerund', (t) => {
  t.deepEqual(codeFiles().filter(isGerund), [])
  t.true(isGerund('agent/mobility/housekeeping.ts'))
  t.true(isGerund('test/unit/store/pool/writing.test.ts'))
  t.false(isGerund('agent/host/setting.ts'))
  t.false(isGerund('agent/store/spool/missing-content.ts'))
})
