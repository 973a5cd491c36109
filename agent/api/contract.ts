import type { ErrorCode } from '../errors.ts'
import type { Health, HostView, MoveView, VerifyView, VolumeView } from '../mobility/contract.ts'
import type { VolumeOptions } from '../model.ts'

export type { Health, HostView, MoveView, VerifyView, VolumeOptions, VolumeView }

/**
 * The agent's API: HTTP on a unix socket. Its clients are the plugin, the command line and the dashboard.
 *
 *     POST   /volumes                    {name, options}  -> VolumeView    again with the same options: the same answer
 *     GET    /volumes                                     -> VolumeView[]
 *     GET    /volumes/:name                               -> VolumeView
 *     DELETE /volumes/:name                               -> 204
 *     PUT    /volumes/:name/mounts/:id   {deadlineMs}     -> {mountpoint}
 *     DELETE /volumes/:name/mounts/:id                    -> 204
 *     POST   /volumes/:name/verify                       -> VerifyView    reads this host's copy again; takes its time
 *     GET    /hosts                                       -> HostView[]
 *     GET    /moves                                       -> MoveView[]
 *     GET    /health                                      -> Health
 *
 * Every request may be repeated. Errors are an ErrorBody with the status of ERROR_STATUS.
 */
export interface AgentApi {
  create(name: string, options: VolumeOptions, signal: AbortSignal): Promise<VolumeView>
  get(name: string, signal: AbortSignal): Promise<VolumeView>
  list(signal: AbortSignal): Promise<VolumeView[]>
  remove(name: string, signal: AbortSignal): Promise<void>
  mount(name: string, mountId: string, deadlineMs: number, signal: AbortSignal): Promise<MountAnswer>
  unmount(name: string, mountId: string, signal: AbortSignal): Promise<void>
  verify(name: string, signal: AbortSignal): Promise<VerifyView>
  hosts(signal: AbortSignal): Promise<HostView[]>
  moves(signal: AbortSignal): Promise<MoveView[]>
  health(signal: AbortSignal): Promise<Health>
}

export interface MountAnswer {
  readonly mountpoint: string
}

export interface ErrorBody {
  readonly error: { readonly code: ErrorCode; readonly message: string; readonly hint?: string }
}
