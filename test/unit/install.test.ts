import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'

/** An engine with an older plugin. It refuses what cannot be set, as Docker does (moby, plugin/v2/plugin.go). */
const DOCKER = `#!/bin/sh
case "$*" in
  version*) echo 28.5 ;;
  'plugin inspect'*Settings.Env*)
    printf 'WHERRY_LEASE=9s\\nWHERRY_GONE=1\\n'
    printf '%s.source=/of/%s\\n' state state docker docker cgroup cgroup proc proc gone gone ;;
  'plugin inspect'*state*) echo "$STATE" ;;
  'plugin set'*)
    shift 3
    for setting in "$@"; do
      case " $SETTABLE " in
        *" \${setting%%=*} "*) echo "$setting" >>"$STATE.set" ;;
        *) echo "$setting is not settable" >&2; exit 1 ;;
      esac
    done ;;
esac
`

interface Manifest {
  readonly env: readonly { readonly name: string }[]
  readonly mounts: readonly { readonly name: string; readonly settable?: readonly string[] }[]
}

test('scripts/install takes over from an older plugin every setting that this one has', (t) => {
  const place = mkdtempSync(join(tmpdir(), 'wherry-install-'))
  t.teardown(() => rmSync(place, { recursive: true, force: true }))
  mkdirSync(join(place, 'scripts'))
  copyFileSync('scripts/install', join(place, 'scripts/install'))
  copyFileSync('config.json', join(place, 'config.json'))
  writeFileSync(join(place, 'scripts/build-plugin'), '#!/bin/sh\n', { mode: 0o755 })
  writeFileSync(join(place, 'docker'), DOCKER, { mode: 0o755 })
  const { env, mounts } = JSON.parse(readFileSync('config.json', 'utf8')) as Manifest
  const sources = mounts.filter(({ settable }) => settable?.includes('source') === true)
  const state = join(place, 'state')
  const ran = spawnSync('bash', [join(place, 'scripts/install'), 'WHERRY_LOG=debug'], {
    encoding: 'utf8',
    env: {
      PATH: `${place}:${process.env.PATH}`,
      DOCKER_HOST: 'unix:///nowhere',
      STATE: state,
      SETTABLE: [...env.map(({ name }) => name), ...sources.map(({ name }) => `${name}.source`)].join(' '),
    },
  })
  t.is(ran.status, 0, ran.stderr)
  t.deepEqual(readFileSync(`${state}.set`, 'utf8').trim().split('\n'), [
    'WHERRY_LEASE=9s',
    'state.source=/of/state',
    'docker.source=/of/docker',
    'cgroup.source=/of/cgroup',
    'WHERRY_LOG=debug',
  ])
})
