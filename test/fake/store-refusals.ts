import { WherryError } from '../../agent/model/errors.ts'
import type { Checkpoint } from '../../agent/model/model.ts'

/** What a store says when it refuses, with the codes of the real one. */
export const STORE_REFUSALS = {
  noCopy: (id: string, host: string) => new WherryError('NOT_AT_CHECKPOINT', `${host} has no copy ${id}.`),

  unreadable: (id: string, host: string) =>
    new WherryError('COPY_DAMAGED', `The record of copy ${id} on ${host} cannot be understood.`),

  unfinished: (id: string, host: string) =>
    new WherryError('COPY_DAMAGED', `The copy ${id} on ${host} is between two checkpoints.`),

  damaged: (id: string, host: string) => new WherryError('COPY_DAMAGED', `The copy ${id} on ${host} is damaged.`),

  notHeld: (id: string, host: string) => new WherryError('STALE_EPOCH', `${id} is not held on ${host}.`),

  inUse: (name: string, how: 'held' | 'mounted') =>
    new WherryError('VOLUME_IN_USE', `Volume "${name}" is ${how} here.`),

  receiving: (id: string) => new WherryError('COPY_RUNNING', `Volume ${id} is being copied here already.`),

  changed: (name: string) => new WherryError('TREE_CHANGED', `Volume "${name}" was written to while it was read.`),

  unsupported: (name: string) =>
    new WherryError('TREE_UNSUPPORTED', `"dir" in volume ${name} is a mount, which Wherry cannot move.`),

  notFrozen: (name: string) => new WherryError('HASH_MISMATCH', `Nothing of volume "${name}" is frozen.`),

  mismatch: (name: string, { epoch, seq }: Checkpoint) =>
    new WherryError('HASH_MISMATCH', `What is here of volume "${name}" is not checkpoint ${epoch}.${seq}.`),

  nothingStaged: (name: string) =>
    new WherryError('STAGE_INCOMPLETE', `Nothing was received completely of volume "${name}".`),

  noManifest: (name: string, kind: string) =>
    new WherryError('NOT_AT_CHECKPOINT', `There is no ${kind} manifest of volume "${name}".`),

  full: (name: string, host: string) => new WherryError('DISK_FULL', `No space for volume "${name}" on ${host}.`),

  unwritable: (errno: string, host: string) =>
    Object.assign(new Error(`${errno}: cannot write, open '${host}'`), { code: errno, syscall: 'open' }),
} as const
