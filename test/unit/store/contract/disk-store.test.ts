import { existsSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import type { SnapshotRef } from '../../../../agent/store/tree-contract.ts'
import { calm, type StoreHost, send, storeHost } from '../fixture.ts'
import { testStore } from './store-contract.ts'
import type { GivenTree, StoredVolume, StoreSubject } from './store-kit.ts'

testStore('the store on a disk', async (t) => await openSubject(t, await storeHost(t)))

/** A text is the content of one file; the empty text is no file. */
async function openSubject(t: ExecutionContext, { store, data }: StoreHost): Promise<StoreSubject> {
  const path = (id: string) => join(data(id), 'text')
  return {
    store,
    write: (id, text) => put(path(id), text),
    restore: (id, text) => {
      put(path(id), text)
      age(data(id))
    },
    read: (id) => get(path(id)) ?? '',
    receive: async (volume, text) => {
      const source = await storeHost(t)
      await source.store.create(volume)
      const tree = source.data(volume.id)
      put(join(tree, 'text'), text)
      age(tree)
      const { hash } = await source.store.capture(volume.id, 'quiet', calm)
      const { complete } = await send(source.store, store, volume)
      t.true(complete)
      return hash
    },
    give: async (ref) => await give(t, store, ref),
    settle: async (promise) => await promise,
  }
}

/** Makes the same text the same tree, whenever it is written. */
function age(tree: string): void {
  for (const made of [join(tree, 'text'), tree]) if (existsSync(made)) utimesSync(made, 1, 1)
}

async function give(t: ExecutionContext, store: StoreHost['store'], ref: SnapshotRef): Promise<GivenTree> {
  // A refusal comes with the opening of the reader; nothing was read then.
  const { hash } = await opened(store, ref)
  const { id, kind } = ref
  const copy = await store.copy(id)
  const volume: StoredVolume = { id, name: copy?.name ?? '', options: (copy as StoredVolume).options }
  const target = await storeHost(t)
  const { complete } = await send(store, target.store, volume, kind)
  if (!complete) return { hash, text: null }
  await target.store.apply(id, { epoch: 1, seq: 1, hash, bytes: 0, files: 0, at: '2026-01-01T00:00:00.000Z' })
  return { hash, text: get(join(target.data(id), 'text')) ?? '' }
}

async function opened(store: StoreHost['store'], ref: SnapshotRef): Promise<{ hash: string }> {
  await using reader = await store.reader(ref)
  return { hash: reader.hash }
}

function put(path: string, text: string): void {
  if (text === '') rmSync(path, { force: true })
  else writeFileSync(path, text)
}

function get(path: string): string | null {
  return existsSync(path) ? readFileSync(path, 'utf8') : null
}
