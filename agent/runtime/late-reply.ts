import type { Socket } from 'node:net'

/** Describes a host that did not reply in time. If TCP connects and nothing comes, large packets may be lost. */
export function describeLateReply({ connecting }: Pick<Socket, 'connecting'>, limitMs: number): string {
  const detail = connecting ? '' : ' after TCP had connected (are large packets lost on the way? compare the MTUs)'
  return `no reply within ${limitMs / 1_000} s${detail}`
}
