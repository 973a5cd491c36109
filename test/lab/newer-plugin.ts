import { cpSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { run } from '../../lab/command.ts'
import type { Lab } from '../../lab/lab.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
/** What the bundle is made of. */
const SOURCES = ['agent', 'plugin', 'cli', 'scripts/lib', 'test/fake', 'test/fixtures', 'package.json']
const NEWER_VERSION = '99.0.0'

/** How a tree of this version becomes one of the next: what each patch replaces must be there once. */
const PATCHES: readonly { readonly file: string; readonly from: RegExp; readonly to: string }[] = [
  { file: 'package.json', from: /"version": "[^"]+"/, to: `"version": "${NEWER_VERSION}"` },
  {
    file: 'agent/transfer/wire/protocol.ts',
    from: /(?<=PROTOCOL: ProtocolRange = )\{ lowest: \d+, highest: (\d+) \}/,
    to: '{ lowest: $1, highest: $1 + 1 }',
  },
  {
    file: 'agent/mobility/lease/heartbeat.ts',
    from: /(?<=\n {4})id: self\.id,/,
    to: '...{ fromNewer: 1 }, id: self.id,',
  },
  { file: 'agent/main.ts', from: /^/, to: "import '../test/fixtures/newer-agent.ts'\n" },
  { file: 'agent/mover/worker.ts', from: /^/, to: "import '../../test/fixtures/newer-agent.ts'\n" },
]

/** Builds the plugin of the next version from a patched tree, and pushes it to the lab's registry. */
export async function publishNewer(lab: Lab): Promise<{ readonly reference: string; readonly version: string }> {
  const sources = `${lab.directory}/newer-sources`
  const built = `${lab.directory}/newer-plugin`
  for (const path of SOURCES) cpSync(`${ROOT}/${path}`, `${sources}/${path}`, { recursive: true })
  symlinkSync(`${ROOT}/node_modules`, `${sources}/node_modules`)
  for (const { file, from, to } of PATCHES) {
    const before = readFileSync(`${sources}/${file}`, 'utf8')
    const after = before.replace(from, to)
    if (after === before) throw new Error(`the patch of ${file} does not fit any more: see PATCHES`)
    writeFileSync(`${sources}/${file}`, after)
  }
  await run('cp', ['--archive', '--reflink=auto', `${lab.directory}/plugin`, built])
  const app = `${built}/rootfs/app`
  for (const part of ['chunks', 'build/compiled']) rmSync(`${app}/${part}`, { recursive: true })
  mkdirSync(app, { recursive: true })
  await run(process.execPath, ['scripts/lib/bundle.ts', app], { cwd: sources })
  const reference = `${lab.registry}/wherry:newer`
  const host = lab.host(1)
  await host.docker(['plugin', 'create', reference, built])
  await host.docker(['plugin', 'push', reference])
  await host.docker(['plugin', 'rm', reference])
  return { reference, version: NEWER_VERSION }
}
