/**
 * Pushes an image's files to a registry over its HTTP API (distribution specification, "pushing blobs monolithically").
 * A program of its own because it has to run inside the lab's network.
 *
 *   node push-image.ts DIRECTORY http://REGISTRY/v2/NAME TAG
 */
import { readFileSync } from 'node:fs'

const [directory, address, tag] = process.argv.slice(2) as [string, string, string]
const manifest = readFileSync(`${directory}/manifest.json`)
const { mediaType, config, layers } = JSON.parse(manifest.toString()) as {
  mediaType: string
  config: { digest: string }
  layers: { digest: string }[]
}

async function pushBlob(file: string, digest: string): Promise<void> {
  const there = await fetch(`${address}/blobs/${digest}`, { method: 'HEAD' })
  if (there.ok) return
  const begun = await fetch(`${address}/blobs/uploads/`, { method: 'POST' })
  const location = new URL(begun.headers.get('location') ?? '', address)
  location.searchParams.set('digest', digest)
  await put(location, 'application/octet-stream', readFileSync(`${directory}/${file}`))
}

async function put(target: URL, type: string, body: Buffer<ArrayBuffer>): Promise<void> {
  const answer = await fetch(target, { method: 'PUT', headers: { 'content-type': type }, body })
  if (!answer.ok) throw new Error(`${target.href}: ${answer.status} ${await answer.text()}`)
}

await pushBlob('config.json', config.digest)
for (const layer of layers) await pushBlob('layer.tar.gz', layer.digest)
await put(new URL(`${address}/manifests/${tag}`), mediaType, manifest)
