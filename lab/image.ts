import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { run } from './command.ts'
import { SWITCH } from './network.ts'
import { REGISTRY } from './registry.ts'

/** What a container image of the lab is made of. */
export interface ImageDefinition {
  readonly name: string
  /** Names the contents: an image that was built with this key once is not built again on this machine. */
  readonly key: () => string
  /** The image's part of the OCI configuration: Entrypoint, Cmd, Env, StopSignal ... */
  readonly config: Readonly<Record<string, unknown>>
  /** Fills an empty directory with the image's root file system. */
  build(root: string): Promise<void>
}

/** An image as files, ready to be pushed: the blobs by digest, and the manifest that names them. */
export interface ImageFiles {
  readonly directory: string
  readonly name: string
  readonly tag: string
}

const CACHE = `${process.env.WHERRY_CACHE ?? '/var/cache/wherry'}/images`
const PUSH_SCRIPT = fileURLToPath(new URL('push-image.ts', import.meta.url))

const MANIFEST_TYPE = 'application/vnd.docker.distribution.manifest.v2+json'
const CONFIG_TYPE = 'application/vnd.docker.container.image.v1+json'
const LAYER_TYPE = 'application/vnd.docker.image.rootfs.diff.tar.gzip'

/** Builds an image without an engine, or takes it from an earlier run. */
export async function buildImage(definition: ImageDefinition): Promise<ImageFiles> {
  const tag = createHash('sha256')
    .update(definition.key() + JSON.stringify(definition.config))
    .digest('hex')
    .slice(0, 12)
  const files = { directory: `${CACHE}/${definition.name}-${tag}`, name: definition.name, tag }
  if (existsSync(files.directory)) return files
  mkdirSync(CACHE, { recursive: true })
  const work = mkdtempSync(`${CACHE}/.build-`)
  try {
    await writeImage(work, definition)
    renameSync(work, files.directory)
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
  return files
}

/** Pushes an image to the lab's registry; returns the reference to run it by. */
export async function pushImage(files: ImageFiles): Promise<string> {
  const address = `http://${REGISTRY}/v2/${files.name}`
  const push = [process.execPath, PUSH_SCRIPT, files.directory, address, files.tag]
  await run('nsenter', [`--net=/run/netns/${SWITCH}`, ...push])
  return `${REGISTRY}/${files.name}:${files.tag}`
}

async function writeImage(directory: string, definition: ImageDefinition): Promise<void> {
  const root = `${directory}/rootfs`
  mkdirSync(root)
  await definition.build(root)
  await run('tar', ['--create', '--file', `${directory}/layer.tar`, '--sort=name', '--directory', root, '.'])
  const diffId = await digestOf(`${directory}/layer.tar`)
  await run('gzip', ['--fast', '--no-name', `${directory}/layer.tar`])
  rmSync(root, { recursive: true })

  const config = {
    architecture: process.arch === 'x64' ? 'amd64' : process.arch,
    os: 'linux',
    config: definition.config,
    rootfs: { type: 'layers', diff_ids: [diffId] },
    history: [{ created: '2020-01-01T00:00:00Z', created_by: definition.name }],
  }
  writeFileSync(`${directory}/config.json`, JSON.stringify(config))
  const manifest = {
    schemaVersion: 2,
    mediaType: MANIFEST_TYPE,
    config: await describe(`${directory}/config.json`, CONFIG_TYPE),
    layers: [await describe(`${directory}/layer.tar.gz`, LAYER_TYPE)],
  }
  writeFileSync(`${directory}/manifest.json`, JSON.stringify(manifest))
}

async function describe(file: string, mediaType: string) {
  return { mediaType, size: readFileSync(file).length, digest: await digestOf(file) }
}

async function digestOf(file: string): Promise<string> {
  const { stdout } = await run('sha256sum', [file])
  return `sha256:${stdout.split(' ')[0]}`
}
