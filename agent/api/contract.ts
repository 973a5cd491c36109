import type { ErrorCode } from '../model/errors.ts'
import type { ClientCall, ENDPOINTS } from './endpoints.ts'

export type {
  DrainView,
  Health,
  HostView,
  PromotionView,
  RecoverView,
  RemovalConsent,
  RemovalView,
  VerifyView,
} from '../mobility/contract.ts'
export type { MoveView, VolumeView } from '../mobility/volume-view.ts'
export type { VolumeOptions } from '../model/model.ts'

/** The agent's API as its clients call it, one method for each row of ENDPOINTS. */
export type AgentApi = { readonly [Name in keyof typeof ENDPOINTS]: ClientCall<(typeof ENDPOINTS)[Name]> }

export interface ErrorBody {
  readonly error: { readonly code: ErrorCode; readonly message: string; readonly hint?: string }
}
