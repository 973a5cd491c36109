/**
 * Bundles the programs of the plugin, with the packages they use, for Node without types: bundle.ts OUT
 *
 * Each program and each thread keeps its path, with .js instead of .ts. What they share, and what is imported late, is
 * in OUT/chunks. OUT/package.json names the threads as the repository's own does. OUT/third-party-licenses.txt has the
 * licenses of the packages.
 */
import { globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { build, type Metafile, type Plugin } from 'esbuild'
import manifest from '../../package.json' with { type: 'json' }

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const PROGRAMS = ['plugin/main.ts', 'cli/wherry.ts']
/** Has a native part, which is loaded from beside it. */
const NOT_BUNDLED = ['koffi']
/** dockerode loads these for ssh, builds, and archives of directories: nothing that Wherry asks of an engine. */
const UNUSED = ['@balena/dockerignore', '@grpc/grpc-js', '@grpc/proto-loader', 'protobufjs', 'ssh2', 'tar-fs']
/** zod's messages in fifty languages; English is imported by itself. */
const withoutLocales: Plugin = {
  name: 'without-locales',
  setup: ({ onResolve }) => {
    onResolve({ filter: /\/locales\/index\.js$/ }, ({ importer }) =>
      importer.includes('/node_modules/zod/') ? { path: here('empty.cjs') } : null,
    )
  },
}
const here = (file: string) => fileURLToPath(new URL(file, import.meta.url))

async function main(out: string): Promise<void> {
  const threads = Object.values(manifest.imports).filter((path) => path.endsWith('.ts'))
  const { metafile } = await build({
    absWorkingDir: ROOT,
    entryPoints: [...PROGRAMS, ...threads],
    outbase: '.',
    outdir: out,
    bundle: true,
    splitting: true,
    chunkNames: 'chunks/[name]-[hash]',
    format: 'esm',
    platform: 'node',
    target: `node${process.versions.node}`,
    external: NOT_BUNDLED,
    alias: {
      ...Object.fromEntries(UNUSED.map((name) => [name, here('empty.cjs')])),
      http: here('http.cjs'),
      'node:http': here('http.cjs'),
    },
    plugins: [withoutLocales],
    inject: [here('globals.mjs')],
    // For the CommonJS packages among them, which require Node's own modules.
    banner: { js: "const require = process.getBuiltinModule('module').createRequire(import.meta.url)" },
    minifyWhitespace: true,
    lineLimit: 120,
    legalComments: 'none',
    metafile: true,
    logLevel: 'warning',
  })
  const { name, version, license, type, imports } = manifest
  const shipped = { name, version, license, type, imports: mapValues(imports, (path) => path.replace(/\.ts$/, '.js')) }
  mkdirSync(out, { recursive: true })
  writeFileSync(`${out}/package.json`, `${JSON.stringify(shipped, null, 2)}\n`)
  writeFileSync(`${out}/third-party-licenses.txt`, licensesOf(packagesIn(metafile)))
}

/** The directories of the packages that a bundle contains. */
function packagesIn({ outputs }: Metafile): string[] {
  const inputs = Object.values(outputs).flatMap((output) => Object.keys(output.inputs))
  const packages = inputs.flatMap((input) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(input)?.[0] ?? [])
  return [...new Set(packages)].sort()
}

function licensesOf(packages: readonly string[]): string {
  const texts = packages.map((directory) => {
    const { name, version, license } = JSON.parse(readFileSync(`${ROOT}/${directory}/package.json`, 'utf8'))
    const files = globSync('{LICEN[CS]E,licen[cs]e,NOTICE}*', { cwd: `${ROOT}/${directory}` }).sort()
    const words = files.map((file) => readFileSync(`${ROOT}/${directory}/${file}`, 'utf8').trim())
    return [`${name} ${version} (${license ?? 'see below'})`, ...words].join('\n\n')
  })
  return `${texts.join(`\n\n${'-'.repeat(80)}\n\n`)}\n`
}

function mapValues<T, U>(of: Readonly<Record<string, T>>, change: (value: T) => U): Record<string, U> {
  return Object.fromEntries(Object.entries(of).map(([key, value]) => [key, change(value)]))
}

const [out, ...more] = process.argv.slice(2)
if (out === undefined || more.length > 0) throw new Error('usage: bundle.ts OUT')
await main(out)
