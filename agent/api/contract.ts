import type {
  DrainView,
  Health,
  HostView,
  MoveView,
  PromotionView,
  RecoverView,
  RemovalConsent,
  RemovalView,
  VerifyView,
  VolumeView,
} from '../mobility/contract.ts'
import type { ErrorCode } from '../model/errors.ts'
import type { VolumeOptions } from '../model/model.ts'

export type {
  DrainView,
  Health,
  HostView,
  MoveView,
  PromotionView,
  RecoverView,
  RemovalConsent,
  RemovalView,
  VerifyView,
  VolumeOptions,
  VolumeView,
}

/**
 * The agent's API: HTTP on a unix socket. Its clients are the plugin, the command line and the dashboard.
 *
 *     POST   /volumes                    {name, options}  -> VolumeView    again with the same options: the same answer
 *     GET    /volumes                                     -> VolumeView[]
 *     GET    /volumes/:name                               -> VolumeView
 *     DELETE /volumes/:name                               -> 204
 *     POST   /volumes/:name/remove       {force, acceptLoss} -> RemovalView  the same with what the operator accepts
 *     PUT    /volumes/:name/mounts/:id   {deadlineMs}     -> {mountpoint}
 *     DELETE /volumes/:name/mounts/:id                    -> 204
 *     POST   /volumes/:name/verify                        -> VerifyView    reads this host's copy again; takes its time
 *     POST   /volumes/:name/promote      {acceptLoss}     -> PromotionView lets it go on without its lost holder
 *     POST   /drain                      {on}             -> DrainView     this host's copies are to leave; again: how far it is
 *     POST   /recover                                     -> RecoverView   records anew from all hosts' disks
 *     GET    /hosts                                       -> HostView[]
 *     GET    /moves                                       -> MoveView[]
 *     GET    /health                                      -> Health
 *     GET    /metrics                                     -> Prometheus' text format, docs/metrics.md
 *
 * Every request may be repeated. Answers are JSON, but for the metrics. Errors are an ErrorBody with the status of ERROR_STATUS.
 */
export interface AgentApi {
  create(name: string, options: VolumeOptions, signal: AbortSignal): Promise<VolumeView>
  get(name: string, signal: AbortSignal): Promise<VolumeView>
  list(signal: AbortSignal): Promise<VolumeView[]>
  remove(name: string, signal: AbortSignal): Promise<void>
  removeWith(name: string, consent: RemovalConsent, signal: AbortSignal): Promise<RemovalView>
  mount(name: string, mountId: string, deadlineMs: number, signal: AbortSignal): Promise<MountAnswer>
  unmount(name: string, mountId: string, signal: AbortSignal): Promise<void>
  verify(name: string, signal: AbortSignal): Promise<VerifyView>
  promote(name: string, acceptLoss: boolean, signal: AbortSignal): Promise<PromotionView>
  drain(on: boolean, signal: AbortSignal): Promise<DrainView>
  recover(signal: AbortSignal): Promise<RecoverView>
  hosts(signal: AbortSignal): Promise<HostView[]>
  moves(signal: AbortSignal): Promise<MoveView[]>
  health(signal: AbortSignal): Promise<Health>
  metrics(signal: AbortSignal): Promise<string>
}

export interface MountAnswer {
  readonly mountpoint: string
}

export interface ErrorBody {
  readonly error: { readonly code: ErrorCode; readonly message: string; readonly hint?: string }
}
