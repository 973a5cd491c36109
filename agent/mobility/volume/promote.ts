import { WherryError } from '../../model/errors.ts'
import type { Checkpoint, Seizure, VolumeRecord } from '../../model/model.ts'
import { rejectOnAbort } from '../../runtime/abort.ts'
import type { Context } from '../context.ts'
import type { Dependencies } from '../dependencies.ts'
import { notFound, registryBehind, registrySilent } from '../errors.ts'
import { failoverRefused } from '../failover/errors.ts'
import { findSoundCandidates } from '../failover/sound-candidates.ts'
import {
  type Acceptance,
  announceTakeover,
  planTakeover,
  recordAfterTakeover,
  type Takeover,
  writeTakeover,
} from '../failover/takeover.ts'
import { askHolder } from '../hold/ask-holder.ts'
import { releaseFailed } from '../hold/errors.ts'
import { isSameTree, orderOf } from '../record/checkpoint-order.ts'
import { hasCheckpoint, isAt } from '../record/copies.ts'
import { COMMAND_WAIT_MS, readVolume } from '../record/update-record.ts'
import { isNeverUsed, type Promotion, takeoverPromotion, unchangedPromotion, unusedPromotion } from './promotion.ts'

/** Long enough for the lease of a host that has just fallen silent to expire. */
const PROMOTE_MS = 30_000
const POLL_MS = 500
/** A host that has released a volume writes that to its disk within moments, if it can. */
const RELEASED_MS = 10_000

/** What may be written, and why. */
interface Chosen extends Takeover {
  /** The holder has given the volume up: its lease need not have ended. */
  readonly isGivenUp: boolean
  /** `best` is all that the holder had: nothing is lost. */
  readonly isWhole: boolean
  /** One line: who has what. */
  readonly described: string
}

/**
 * Makes a volume idle at the newest checkpoint that can be reached, on an operator's request.
 * It follows the next Mount.
 * It ends the hold of a lost holder, or gives up a checkpoint that cannot be reached. A living holder without
 * containers gives the volume up, and sends what it has first.
 * FAILOVER_REFUSED: data would be lost that `acceptLoss` does not accept. RELEASE_FAILED: the holder cannot give it
 * up.
 * VOLUME_HELD_ELSEWHERE: a container uses it. A volume that can be mounted as it is stays as it is.
 * May be repeated; durable on return.
 */
export async function promoteVolume(
  context: Pick<
    Context,
    'dependencies' | 'hosts' | 'locks' | 'wakeups' | 'copyManager' | 'treeChecks' | 'lease' | 'expiry' | 'releases'
  >,
  name: string,
  acceptLoss: boolean,
  caller: AbortSignal,
): Promise<Promotion> {
  const { dependencies } = context
  const hasWaited = waitFor(dependencies, RELEASED_MS)
  const asked = AbortSignal.any([caller, dependencies.signal])
  let signal = AbortSignal.any([asked, dependencies.clock.deadline(PROMOTE_MS)])
  let refusal: WherryError | null = null
  while (!signal.aborted) {
    const inTime = AbortSignal.any([signal, dependencies.clock.deadline(COMMAND_WAIT_MS)])
    const entry = await readVolume(dependencies, name, inTime)
    if (entry === null || entry.value.removedAt !== null) throw notFound(name)
    const record = entry.value
    if (isNeverUsed(record)) return unusedPromotion(record)
    const accepts = { isOperator: true, loss: acceptLoss, hasWaited }
    const found = await choose(context, record, accepts, signal, asked)
    if (found === 'again') {
      signal = AbortSignal.any([asked, dependencies.clock.deadline(PROMOTE_MS)])
      continue
    }
    if (found instanceof WherryError) {
      refusal = found
      // Only a lease may still expire while this waits.
      if (found.code !== 'VOLUME_HELD_ELSEWHERE') throw found
    } else {
      if (record.holder === null && isSameTree(record.last, found.best)) return unchangedPromotion(context, found)
      const next = (now: VolumeRecord) => {
        const taken = recordAfterTakeover(context, now, found.best, found.hosts, null)
        return found.isWhole ? { ...taken, seizures: taken.seizures.map(withoutLoss(taken.epoch)) } : taken
      }
      const mine = (now: VolumeRecord) =>
        now.seizures.at(-1)?.by === dependencies.self.id && now.epoch === record.epoch + 1
      const written = await writeTakeover(context, entry, next, mine, signal, found.isGivenUp)
      if (!(written instanceof WherryError)) {
        announceTakeover(context, written)
        context.wakeups.wake(name)
        return takeoverPromotion(context, written)
      }
      refusal = written
    }
    await context.wakeups.wait(name, (until) => dependencies.clock.sleep(POLL_MS, until), signal)
  }
  throw refusal ?? registrySilent(name)
}

/**
 * Returns what the volume can be taken over with, or why it cannot.
 * `again`: the holder's tree has come, which may have taken long.
 * `asked` aborts when the asker is gone.
 */
async function choose(
  context: Pick<Context, 'dependencies' | 'hosts' | 'locks' | 'copyManager' | 'treeChecks' | 'expiry' | 'releases'>,
  record: VolumeRecord,
  accepts: Acceptance,
  signal: AbortSignal,
  asked: AbortSignal,
): Promise<Chosen | WherryError | 'again'> {
  // Reading a large tree takes its time.
  const reply = canReply(context, record) ? await askHolder(context, record, 'tree', asked) : null
  if (reply?.outcome === 'stuck' && reply.trouble !== null)
    return releaseFailed(record, context.hosts.labelWithAge(record.holder?.host ?? ''), reply.trouble)
  if (reply?.outcome !== 'given-up') {
    const found = await planTakeover(context, record, accepts, () => findSoundCandidates(context, record, signal))
    return found instanceof WherryError ? found : { ...found, isGivenUp: false, isWhole: false }
  }
  const brought = reply.final === null ? null : await bringFinal(context, record, reply.final, asked)
  if (brought === 'again') return brought
  if (brought !== null && !(brought instanceof Error))
    return { record, ...brought, isGivenUp: true, isWhole: true, described: '' }
  const why = brought?.message ?? reply.trouble?.text ?? ''
  return await withoutFinal(context, record, accepts.loss, why, { signal, asked })
}

/**
 * Whether the holder can be asked.
 * True when it is alive, or when its lease has ended because it cannot write its disk.
 */
function canReply(context: Pick<Context, 'hosts'>, { holder }: VolumeRecord): boolean {
  if (holder === null) return false
  return context.hosts.alive(holder.host) || context.hosts.get(holder.host)?.unwritable != null
}

/**
 * Brings a tree of the holder here, unless a host has it.
 * `again`: it has come, and time has passed meanwhile. An error: why that failed.
 */
async function bringFinal(
  context: Pick<Context, 'dependencies' | 'copyManager'>,
  record: VolumeRecord,
  final: Checkpoint,
  asked: AbortSignal,
): Promise<Pick<Takeover, 'best' | 'hosts'> | 'again' | Error> {
  const { self, store } = context.dependencies
  const { last, copies, holder } = record
  if (last !== null && isSameTree(last, final)) {
    const others = Object.entries(copies).filter(([host, copy]) => host !== holder?.host && hasCheckpoint(copy, last))
    if (others.length > 0) return { best: last, hosts: others.map(([host]) => host) }
  }
  if (isAt(await store.copy(record.id), final)) return { best: final, hosts: [self.id] }
  if (holder === null || holder.host === self.id)
    return new Error(`another host must fetch what is here: run "wherry promote ${record.name}" there.`)
  try {
    await rejectOnAbort(context.copyManager.bring(record, final, holder.host), asked)
    return 'again'
  } catch (error) {
    asked.throwIfAborted()
    return error instanceof Error ? error : new Error(String(error))
  }
}

/**
 * Returns what to take over with when the holder gives the volume up and its last tree cannot be had.
 * An operator must accept that.
 * A checkpoint that only the holder has counts once it has come here: the holder sets its tree aside.
 */
async function withoutFinal(
  context: Pick<Context, 'dependencies' | 'hosts' | 'locks' | 'copyManager' | 'treeChecks'>,
  record: VolumeRecord,
  acceptLoss: boolean,
  why: string,
  { signal, asked }: { signal: AbortSignal; asked: AbortSignal },
): Promise<Chosen | WherryError | 'again'> {
  const { best, hosts, holders, epochSeen, described } = await findSoundCandidates(context, record, signal)
  if (epochSeen > record.epoch) return registryBehind(record, 'a disk of the cluster', epochSeen)
  const refusal = (command: string | null) =>
    failoverRefused(record, context.hosts, { described, why: `what it has cannot be sent: ${why}`, command })
  const newer = holders !== null && (best === null || orderOf(holders, best) === 'newer') ? holders : null
  if (!acceptLoss)
    return refusal(best === null && newer === null ? null : `wherry promote ${record.name} --accept-loss`)
  const chosen = { record, isGivenUp: true, isWhole: false, described }
  const brought = newer === null ? null : await bringFinal(context, record, newer, asked)
  if (brought === 'again') return brought
  if (brought !== null && !(brought instanceof Error)) return { ...chosen, ...brought }
  return best === null ? refusal(null) : { ...chosen, best, hosts }
}

/** Returns a function that says whether this time has passed since it was called first. */
function waitFor({ clock }: Pick<Dependencies, 'clock'>, ms: number): () => boolean {
  let sinceMs: number | null = null
  return () => {
    sinceMs ??= clock.elapsedMs()
    return clock.elapsedMs() - sinceMs >= ms
  }
}

function withoutLoss(epoch: number): (seizure: Seizure) => Seizure {
  return (seizure) => (seizure.epoch === epoch ? { ...seizure, ageSeconds: 0 } : seizure)
}
