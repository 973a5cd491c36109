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

/** Prints the reply of its turn; only the last one may be the success. */
const WHERRY = `
[ "$1" = status ] || exit 9
reply=$(echo "$REPLIES" | cut -d'|' -f$((n + 1)))
if [ -z "$reply" ]; then reply=\${REPLIES##*|}; fi
echo "$reply"
if [ "$reply" = "\${REPLIES##*|}" ]; then exit $CODE; fi
exit 1
`

async function start() {
  const root = await mkdtemp(join(tmpdir(), 'wherry-install-'))
  await mkdir(join(root, 'scripts/lib'), { recursive: true })
  for (const file of ['config.json', 'scripts/install', 'scripts/lib/arguments'])
    await copyFile(join(ROOT, file), join(root, file))
  for (const [file, text] of [
    ['docker', DOCKER],
    ['scripts/build-plugin', '#!/bin/sh\n'],
    // The command's replies, one after another; the last one stays.
    [
      'scripts/wherry',
      `#!/bin/sh\nn=$(cat ${root}/asked 2>/dev/null || echo 0)\necho $((n + 1)) >${root}/asked\n${WHERRY}`,
    ],
    ['sleep', '#!/bin/sh\n'],
    ['install', '#!/bin/sh\n'],
  ] as const) {
    await writeFile(join(root, file), text)
    await chmod(join(root, file), 0o755)
  }
  const env = { PATH: `${root}:${process.env.PATH}` }
  const install = (env: NodeJS.ProcessEnv, settings: readonly string[] = []) =>
    run(join(root, 'scripts/install'), settings, { env })
  return {
    install: (...settings: string[]) => install({ ...env, DOCKER_HOST: 'unix:///nowhere' }, settings),
    /** Installs into this machine's engine; the command then replies with these texts, the last one again and again. */
    check: (code: number, ...replies: string[]) => install({ ...env, REPLIES: replies.join('|'), CODE: String(code) }),
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

test('it reports success only when the agent says that this host is ready', async (t) => {
  await using ground = await start()
  const { stdout } = await ground.check(
    0,
    'wherry: AGENT_UNAVAILABLE: it is not running',
    'registry does not reply',
    'ok',
  )
  t.regex(stdout, /Wherry is installed and ready\. Next: docker volume create/)
})

test('it ends with what the agent said when the agent cannot start', async (t) => {
  await using ground = await start()
  const reply = 'wherry: AGENT_UNAVAILABLE: ... It ended at 10:00: Certificate file /x/ca.pem cannot be read. Make it.'
  const refused = await t.throwsAsync(ground.check(1, reply))
  t.regex(refused?.message ?? '', /not ready:\n.*ca\.pem cannot be read\. Make it\..*\nCorrect that/s)
  t.true(refused?.message.includes(`The agent's /var/lib/wherry is ${ground.root}/a state on this host.`))
  t.is((await readFile(join(ground.root, 'asked'), 'utf8')).trim(), '1', 'at once: that does not pass by itself')
})

test('hosts that do not run yet are no failure of this one; anything else that lasts is', async (t) => {
  await using ground = await start()
  const { stdout } = await ground.check(1, 'registry  waits for other hosts, since 10:00: 1 of 3 reachable')
  t.regex(stdout, /1 of 3 reachable\nWherry is installed\. It waits for other hosts/)
  await using other = await start()
  const refused = await t.throwsAsync(other.check(1, 'registry  does not reply: it refuses this host'))
  t.regex(refused?.message ?? '', /not ready:\nregistry {2}does not reply: it refuses this host/)
})
