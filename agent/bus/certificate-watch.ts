import { stat } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { TlsFiles } from './endpoint.ts'

/** Certificates change once in months; some seconds later is soon enough, and a look costs three stat calls. */
const LOOK_EVERY_MS = 5_000

/** Calls `changed` after one of the files was replaced or written to, until `signal` aborts. */
export async function watchCertificates(files: TlsFiles, changed: () => void, signal: AbortSignal): Promise<void> {
  let known = await fingerprint(files)
  while (!signal.aborted) {
    await sleep(LOOK_EVERY_MS, undefined, { signal, ref: false }).catch(() => {})
    const now = await fingerprint(files)
    if (now !== known && !signal.aborted) changed()
    known = now
  }
}

async function fingerprint(files: TlsFiles): Promise<string> {
  const parts: string[] = []
  for (const path of [files.ca, files.cert, files.key]) {
    const found = await stat(path, { bigint: true }).catch(() => null)
    parts.push(found === null ? 'missing' : `${found.ino}:${found.size}:${found.mtimeNs}`)
  }
  return parts.join(' ')
}
