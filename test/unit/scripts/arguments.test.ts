import { execFile } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'

const ROOT = join(import.meta.dirname, '../../..')
const SCRIPTS = readdirSync(join(ROOT, 'scripts'), { withFileTypes: true })
  .filter((entry) => entry.isFile() && !entry.name.includes('.'))
  .map(({ name }) => name)

/** The scripts in a directory of their own, without node_modules. */
async function start() {
  const root = await mkdtemp(join(tmpdir(), 'wherry-scripts-'))
  for (const path of ['scripts', 'config.json', 'package.json']) {
    await cp(join(ROOT, path), join(root, path), { recursive: true })
  }
  const before = readdirSync(root, { recursive: true, encoding: 'utf8' })
  return {
    run: (name: string, ...args: string[]) => run(join(root, 'scripts', name), args),
    /** What the scripts have made beside themselves. */
    made: () => readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((path) => !before.includes(path)),
    [Symbol.asyncDispose]: () => rm(root, { recursive: true, force: true }),
  }
}

function run(file: string, args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const env = { ...process.env, DOCKER_HOST: 'unix:///nowhere' }
  return new Promise((resolve) => {
    execFile(file, args, { env }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr })
    })
  })
}

test('there are scripts to ask', (t) => {
  for (const name of ['bench', 'build-plugin', 'certs', 'demo', 'install', 'setup', 'test', 'wherry']) {
    t.true(SCRIPTS.includes(name), name)
  }
})

for (const name of SCRIPTS) {
  test(`scripts/${name} --help prints how it is called, and does nothing else`, async (t) => {
    await using ground = await start()
    for (const flag of ['--help', '-h']) {
      const { code, stdout, stderr } = await ground.run(name, flag)
      t.is(code, 0, stderr)
      t.is(stderr, '')
      t.regex(stdout, new RegExp(`^ +(scripts/)?${name}\\b`, 'm'))
      t.notRegex(stdout, /^#|set -euo/m)
    }
    t.deepEqual(ground.made(), [])
  })
}

// The wherry command hands on what it is given: test/unit/cli/wherry.test.ts.
for (const name of SCRIPTS.filter((name) => name !== 'wherry')) {
  test(`scripts/${name} with a wrong argument says so in one line, ends with code 2, and does no more`, async (t) => {
    await using ground = await start()
    const { code, stdout, stderr } = await ground.run(name, '--nonsense')
    t.is(code, 2, stderr)
    t.is(stdout, '')
    t.regex(stderr, new RegExp(`^${name}: [^\\n]*--nonsense[^\\n]*\\n$`))
    t.deepEqual(ground.made(), [])
  })
}

test('values, numbers and names that do not fit are wrong arguments too', async (t) => {
  await using ground = await start()
  const wrong: [string, ...string[]][] = [
    ['bench', 'nothing'],
    ['bench', '--rounds', '2'],
    ['bench', '--rounds'],
    ['bench', '--scale', '2'],
    ['bench', 'big', 'rest'],
    ['build-plugin', 'here', 'there'],
    ['certs', 'only-a-directory'],
    ['certs', 'directory', 'a..b'],
    ['demo', '--data-mb', 'much'],
    ['demo', '--down', '--keep'],
    ['install', 'WHERRY_NOTHING=1'],
    ['setup', 'everything'],
    ['test', 'unit', 'file.test.ts'],
  ]
  for (const [name, ...args] of wrong) {
    const { code, stdout, stderr } = await ground.run(name, ...args)
    t.is(code, 2, `${name} ${args.join(' ')}: ${stderr}`)
    t.is(stdout, '')
    t.regex(stderr, new RegExp(`^${name}: [^\\n]+\\n$`))
  }
  t.deepEqual(ground.made(), [])
})
