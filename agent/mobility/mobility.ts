import type { VolumeRecord } from '../model/model.ts'
import type { QueryHandler, TreeChooser } from '../transfer/contract.ts'
import type { Mobility } from './contract.ts'
import { createContext } from './create-context.ts'
import type { Dependencies } from './dependencies.ts'
import { type About, readHealth } from './health.ts'
import { mountVolume } from './hold/mount.ts'
import { unmountVolume } from './hold/unmount.ts'
import { replyToQuery } from './peer/answer-question.ts'
import { chooseTree } from './peer/serve-tree.ts'
import { drainHost } from './placement/drain.ts'
import { reconcileLoop, watchHosts } from './reconcile.ts'
import { recoverRegistry } from './recovery/recover.ts'
import { verifyVolume } from './replication/verify.ts'
import { Hints } from './swarm/hints.ts'
import { followNodes } from './swarm/node-facts.ts'
import { leadNodes } from './swarm/node-labels.ts'
import { createVolume } from './volume/create.ts'
import { promoteVolume } from './volume/promote.ts'
import { watchRegistry } from './volume/record-changes.ts'
import { removeVolume } from './volume/remove.ts'
import { findVolume, readHostNames, readHostViews, readVolumeView, readVolumeViews } from './volume/show.ts'
import { explainUnwritable } from './volume/unwritable.ts'

/** The decisions of one host. Nothing happens before `start`. */
export interface RunningMobility extends Mobility {
  /** Recovers what a crash left on this disk, then follows the cluster until the agent stops. */
  start(): Promise<void>
  /** What other hosts may read here. */
  readonly source: TreeChooser
  /** What other hosts may ask. */
  readonly answer: QueryHandler
}

/** The decisions of this host over everything from outside. */
export function createMobility(given: Dependencies, about: About): RunningMobility {
  const { context, readCopies, run } = createContext(given)
  const { store } = context.dependencies
  const hints = new Hints(context)
  const nameDisk = <T>(name: string, work: Promise<T>) => explainUnwritable(context, name, work)
  const show = (record: VolumeRecord, stale = false) => readVolumeView(context, readCopies, record, stale)
  return {
    async start() {
      await store.recover()
      watchRegistry(context)
      hints.start()
      followNodes(context)
      void leadNodes(context)
      run()
      void watchHosts(context)
      void reconcileLoop(context)
    },
    answer: (question, peer, signal) => replyToQuery(context, question, peer, signal),
    source: (request, _peer, signal) => chooseTree(context, request, signal),
    create: async (name, options) => show(await nameDisk(name, createVolume(context, name, options))),
    async get(name, signal) {
      const { record, stale } = await findVolume(context, name, signal)
      hints.noteDemand(record)
      await readHostNames(context)
      return await show(record, stale)
    },
    list: () => readVolumeViews(context, readCopies),
    async remove(name) {
      await nameDisk(name, removeVolume(context, name))
    },
    removeWith: (name, consent, signal) => nameDisk(name, removeVolume(context, name, consent, signal)),
    async mount(name, mountId, deadlineMs) {
      return { mountpoint: await nameDisk(name, mountVolume(context, name, mountId, deadlineMs)) }
    },
    unmount: (name, mountId) => nameDisk(name, unmountVolume(context, name, mountId)),
    verify(name, signal) {
      context.catchUp.retry(name)
      return nameDisk(name, verifyVolume(context, name, signal))
    },
    async promote(name, acceptLoss, signal) {
      context.catchUp.retry(name)
      const { record, changed, summary } = await nameDisk(name, promoteVolume(context, name, acceptLoss, signal))
      return { ...(await show(record)), changed, summary }
    },
    drain: (on) => drainHost(context, on),
    recover: (signal) => recoverRegistry(context, signal),
    hosts: () => readHostViews(context),
    moves: async () => context.copyManager.moves(context.hosts.label(given.self.id)),
    health: () => readHealth(context, about),
  }
}
