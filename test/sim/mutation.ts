import {
  askNoOther,
  countHeld,
  guardAnyhow,
  inheritLease,
  inheritNothing,
  resumeAll,
  tellLate,
} from './host-mutations.ts'
import {
  believeCopies,
  believeOffers,
  believeTombstones,
  forgetCutSeizures,
  forgetLost,
  forgetTombstones,
  overlookExpiry,
  overlookHashes,
  overlookLast,
  overlookPolicy,
  overlookSilence,
  reuseIds,
  sayNothing,
} from './registry-mutations.ts'
import type { Scenario } from './scenarios.ts'
import { type Settings, SHIPPED } from './settings.ts'
import {
  believeHashes,
  compareWithLastLook,
  forgetEpochs,
  forgetMarks,
  forgeUnborn,
  guardAll,
  pauseLive,
} from './store-mutations.ts'
import { dropFromDisk, dropFromRecords, refuseNewer } from './version-mutations.ts'

/** A rule that is broken on purpose, and the promises by which that must be noticed. */
export interface Mutation {
  readonly name: string
  readonly settings: Partial<Settings>
  readonly rules: readonly string[]
}

export const MUTATIONS: readonly Mutation[] = [
  {
    name: 'no margin',
    settings: { seizeAfterMs: 3_000, rivals: 1, unplanned: ['isolation', 'partition'] },
    rules: ['promise 6', 'promise 1'],
  },
  { name: 'fence too late', settings: { watchdogSleepsMs: 8_000, rivals: 1 }, rules: ['promise 6', 'promise 1'] },
  { name: 'no epoch check', settings: { setBack: 0.5, mutate: forgetEpochs }, rules: ['promise 8'] },
  {
    name: 'claim before verify',
    settings: { tampering: true, mutate: believeHashes },
    rules: ['promise 2', 'promise 3'],
  },
  {
    name: 'surplus is not counted',
    settings: { always: ['drains', 'trims'], mutate: believeCopies },
    rules: ['promise 7'],
  },
  { name: 'removed ids are used again', settings: { always: ['removals'], mutate: reuseIds }, rules: ['promise 7'] },
  { name: 'no tombstones', settings: { always: ['removals'], mutate: forgetTombstones }, rules: ['liveness'] },
  {
    name: 'removal that asks only the holder',
    settings: { always: ['cleanups'], mutate: askNoOther },
    rules: ['promise 7'],
  },
  {
    name: 'what was given up is trashed',
    settings: { always: ['removals'], mutate: forgetLost },
    rules: ['promise 7'],
  },
  { name: 'no operator is asked', settings: { always: ['manual'], mutate: overlookPolicy }, rules: ['promise 5'] },
  {
    name: 'loss is accepted unasked',
    settings: { always: ['manual'], acceptsUnasked: true },
    rules: ['promise 3', 'promise 5'],
  },
  {
    name: 'what a holder has is taken for a copy',
    settings: { unplanned: ['odd tree'], mutate: countHeld },
    rules: ['promise 2'],
  },
  { name: 'isolation fences all', settings: { always: ['continue'], mutate: guardAll }, rules: ['promise 6'] },
  { name: 'live is paused', settings: { always: ['live'], mutate: pauseLive }, rules: ['promise 13'] },
  { name: 'every pause is resumed', settings: { always: ['pauses'], mutate: resumeAll }, rules: ['promise 11'] },
  {
    name: 'freezers are not guarded',
    settings: { always: ['execs', 'pauses'], unguarded: true },
    rules: ['promise 13'],
  },
  { name: 'freeze not ended', settings: { freezesStay: true }, rules: ['promise 13'] },
  {
    name: 'disks without epochs are recovered',
    settings: { always: ['wipe'], mutate: forgetEpochs },
    rules: ['promise 8', 'promise 1'],
  },
  { name: 'mount before the watchdog', settings: { mutate: tellLate }, rules: ['promise 1'] },
  {
    name: 'what a record cannot say is not guarded',
    settings: { unplanned: ['unreadable records', 'isolation'], rivals: 1, mutate: inheritNothing },
    rules: ['promise 1', 'promise 6'],
  },
  {
    name: 'an expired lease is extended',
    settings: { unplanned: ['elections after a lost lease'], rivals: 1, mutate: inheritLease },
    rules: ['promise 6', 'promise 1'],
  },
  {
    name: 'base taken from the last scan',
    settings: { unplanned: ['restart in an outage'], mutate: compareWithLastLook },
    rules: ['promise 5'],
  },
  {
    name: 'forged checkpoint on unborn',
    settings: { always: ['unborn'], mutate: forgeUnborn },
    rules: ['promise 14'],
  },
  {
    name: 'order compared without hash',
    settings: { always: ['forged'], mutate: overlookHashes },
    rules: ['promise 14', 'promise 2', 'promise 3', 'promise 5'],
  },
  {
    name: 'expired heartbeat ignored',
    settings: { always: ['stops'], rivals: 1, mutate: overlookExpiry },
    rules: ['promise 6'],
  },
  {
    name: 'truncated lineage taken as safe',
    settings: { always: ['ages'], mutate: forgetCutSeizures },
    rules: ['promise 7'],
  },
  {
    name: 'older host drops unknown fields of records',
    settings: { always: ['versions'], mutate: dropFromRecords },
    rules: ['versions'],
  },
  {
    name: 'older host drops unknown fields of volume.json',
    settings: { always: ['versions'], mutate: dropFromDisk },
    rules: ['versions'],
  },
  {
    name: 'older host refuses a newer record',
    settings: { always: ['versions'], mutate: refuseNewer },
    rules: ['liveness'],
  },
  {
    name: 'an offer needs no certificate of its host',
    settings: { always: ['hostile'], anyCertificate: true },
    rules: ['forgery'],
  },
  {
    name: 'an offer is believed without the registry',
    settings: { always: ['hostile'], mutate: believeOffers },
    rules: ['forgery', 'promise 7', 'promise 8'],
  },
  {
    name: 'tombstones are not compared with records',
    settings: { always: ['hostile'], mutate: believeTombstones },
    rules: ['promise 7'],
  },
  {
    name: 'recover hears no witnesses',
    settings: { always: ['hostile', 'wipe'], mutate: forgetMarks },
    rules: ['promise 2'],
  },
  {
    name: 'recover names copies that a holder does not know',
    settings: { always: ['forged', 'wipe'], mutate: guardAnyhow },
    rules: ['promise 1', 'promise 6'],
  },
  {
    name: 'an empty registry is believed',
    settings: { unplanned: ['registry made anew'], anyRegistry: true },
    rules: ['promise 10'],
  },
  {
    name: 'a failed read is taken for an answer',
    settings: { mutate: overlookSilence },
    rules: ['promise 10'],
  },
  { name: 'stuck holders report nothing', settings: { mutate: sayNothing }, rules: ['liveness'] },
  { name: 'empty mount allowed', settings: { mutate: overlookLast }, rules: ['promise 2', 'promise 3'] },
]

/**
 * The settings as shipped, or with one rule broken; every run has the scenarios of `always`. Throws for an unknown
 * name.
 */
export function settingsFor(name: string | null, always: readonly Scenario[] = []): Settings {
  if (name === null) return { ...SHIPPED, always }
  const mutation = MUTATIONS.find((one) => one.name === name)
  if (mutation === undefined) throw new Error(`no mutation ${name}`)
  return { ...SHIPPED, ...mutation.settings, always: [...(mutation.settings.always ?? []), ...always] }
}
