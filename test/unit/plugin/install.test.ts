import { execFile } from 'node:child_process'
import { chmod, copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import test from 'ava'

const ROOT = join(import.meta.dirname, '../../..')
const run = promisify(execFile)

/**
 * Shows the plugin as a newer or older version may have it, and refuses what dockerd does (moby,
 * plugin/v2/plugin_linux.go, settable.go).
 */
const DOCKER = `#!/usr/bin/env node
const { appendFileSync, readFileSync } = require('node:fs')
const here = require('node:path').dirname(__filename)
const [, , ...args] = process.argv
const { env, mounts } = JSON.parse(readFileSync(here + '/config.json', 'utf8'))
if (args[0] === 'version') console.log('28.5.2')
if (args.join(' ').startsWith('plugin inspect')) {
  const format = args.at(-1)
  if (format.includes('Env')) {
    console.log('WHERRY_LEASE=9s\\nWHERRY_OF_ANOTHER_VERSION=1')
    const sourceOf = ({ name, source }) => (name === 'state' ? here + '/a state' : source)
    console.log(mounts.map((one) => one.name + '.source=' + sourceOf(one)).join('\\n'))
  } else if (format.includes('"state"')) console.log(here + '/a state')
  else console.log('true')
}
if (args.slice(0, 2).join(' ') === 'plugin set') {
  for (const setting of args.slice(3)) {
    const [name] = setting.split('=')
    const sources = mounts.map((one) => ({ ...one, name: one.name + '.source' }))
    const found = [...env, ...sources].find((one) => one.name === name)
    if (found?.settable === undefined) throw new Error('"' + name + '" is not settable')
    appendFileSync(here + '/set', setting + '\\n')
  }
}
`

async function start() {
  const root = await mkdtemp(join(tmpdir(), 'wherry-install-'))
  await mkdir(join(root, 'scripts/lib'), { recursive: true })
  for (const file of ['config.json', 'scripts/install', 'scripts/lib/arguments'])
    await copyFile(join(ROOT, file), join(root, file))
  for (const [file, text] of [
    ['docker', DOCKER],
    ['scripts/build-plugin', '#!/bin/sh\n'],
  ] as const) {
    await writeFile(join(root, file), text)
    await chmod(join(root, file), 0o755)
  }
  const env = { PATH: `${root}:${process.env.PATH}`, DOCKER_HOST: 'unix:///nowhere' }
  return {
    install: (...settings: string[]) => run(join(root, 'scripts/install'), settings, { env }),
    /** What was set, in order. */
    set: async () => (await readFile(join(root, 'set'), 'utf8')).split('\n').filter((line) => line !== ''),
    root,
    [Symbol.asyncDispose]: () => rm(root, { recursive: true, force: true }),
  }
}

test('an upgrade keeps the settings that can be set, and sets nothing that Docker would refuse', async (t) => {
  await using ground = await start()
  await ground.install('WHERRY_LEASE=10s')
  t.deepEqual(await ground.set(), [
    'WHERRY_LEASE=9s',
    `state.source=${ground.root}/a state`,
    'docker.source=/var/run/docker.sock',
    'cgroup.source=/sys/fs/cgroup',
    'WHERRY_LEASE=10s',
  ])
})

test('what cannot be set is refused before the installed plugin is touched', async (t) => {
  await using ground = await start()
  for (const setting of ['proc.source=/x', 'WHERRY_OF_ANOTHER_VERSION=1', 'WHERRY_LEASE'])
    await t.throwsAsync(ground.install(setting), { message: /is not a setting\. NAME=VALUE/ })
  await t.throwsAsync(ground.set(), { code: 'ENOENT' })
})
