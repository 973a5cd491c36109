import type { AgentApi } from '../agent/api/contract.ts'
import { codeOf, type ErrorCode } from '../agent/model/errors.ts'
import { silentVolume, toDockerVolume } from './docker-volume.ts'
import type { Mounts } from './mounts.ts'
import type { DriverRequest } from './request.ts'
import { retryUntil } from './retry.ts'

/**
 * Docker's own limit is 30 s for every call if the plugin was enabled without `--timeout 0`, and 60 s or more otherwise
 * (moby, daemon/volume/drivers/proxy.go). Below 30 s the reason still reaches the user.
 */
export const QUICK_DEADLINE_MS = 25_000
/** How long Get waits for the agent's view of a volume that is known to exist: longer than a restart takes. */
const KNOWN_DEADLINE_MS = 5_000

/** How long List waits: Docker asks all drivers before it lists any. Longer than an election of a leader takes. */
const LIST_DEADLINE_MS = 10_000

export interface CallContext {
  /** Aborts when the engine has hung up or the plugin stops. */
  readonly signal: AbortSignal
  /** Resolves when the response was written (true) or the connection ended without it (false). */
  readonly delivered: Promise<boolean>
}

export interface DriverCall {
  readonly run: (request: DriverRequest, context: CallContext) => Promise<object>
  /** Set: only these errors are sent. After any other the connection is closed without a response. */
  readonly answerable?: readonly ErrorCode[]
}

interface Dependencies {
  readonly agent: AgentApi
  readonly mounts: Mounts
  /** Whether the registry had a volume of that name when this host last heard of it. */
  readonly isKnown: (name: string) => Promise<boolean>
  readonly deadlineMs: number
}

/** The agent restarts, or the registry has no leader for some seconds. Both pass without help. */
const PASSING = ['AGENT_UNAVAILABLE', 'REGISTRY_UNAVAILABLE'] as const
/** The only errors that Get may send: there is no such volume. */
const NONE_SUCH: readonly ErrorCode[] = ['VOLUME_NOT_FOUND', 'NAME_INVALID']

/**
 * The calls of Docker's volume plugin protocol, by path.
 *
 * Promise 10: what Get may say.
 * - dockerd takes every error of Get for "no such volume". It then forgets the volume's driver, labels, options and
 *   users, also while dockerd starts. Only errors of the connection (Go's net.Error) change nothing: the user sees the
 *   error and dockerd remembers the volume (moby, daemon/volume/service/store.go: lookupVolume, getVolume, purge;
 *   restore.go).
 * - So Get sends an error only if the registry said that there is no such volume. After any other it hangs up.
 * - dockerd repeats the request for up to 30 s, but with an empty body (see request.ts), which has no useful response.
 *   So Get keeps the first request open as long as it can.
 * - If the user names no driver and Get hangs up, dockerd asks all drivers and creates an empty volume of its own. So
 *   for a name that this host knows, Get returns a volume that exists.
 * - List and Path may send errors: after a failed List dockerd lists the volumes it knows (store.go, list), and it
 *   ignores a failed Path (adapter.go).
 */
export function createCalls({
  agent,
  mounts,
  isKnown,
  deadlineMs,
}: Dependencies): Readonly<Record<string, DriverCall>> {
  const ask = <T>(
    signal: AbortSignal,
    call: (signal: AbortSignal, repeated: boolean) => Promise<T>,
    forMs = deadlineMs,
  ) => retryUntil({ deadlineMs: forMs, worthWaiting: PASSING, signal }, (now) => call(now.signal, now.repeated))

  const listMs = Math.min(LIST_DEADLINE_MS, deadlineMs)

  const get = async (name: string, signal: AbortSignal) => {
    const asked = (signal: AbortSignal) => agent.get(name, signal)
    const soonMs = Math.min(KNOWN_DEADLINE_MS, deadlineMs)
    try {
      return toDockerVolume(await ask(signal, asked, soonMs))
    } catch (error) {
      const code = codeOf(error)
      if (signal.aborted || (code !== undefined && NONE_SUCH.includes(code))) throw error
      if (await isKnown(name)) return silentVolume(name, error)
      if (!PASSING.some((passing) => passing === code)) throw error
      return toDockerVolume(await ask(signal, asked, deadlineMs - soonMs))
    }
  }

  return {
    '/Plugin.Activate': { run: async () => ({ Implements: ['VolumeDriver'] }) },

    '/VolumeDriver.Capabilities': { run: async () => ({ Capabilities: { Scope: 'global' } }) },

    '/VolumeDriver.Create': {
      run: async (request, { signal }) => {
        const name = request.name()
        const options = request.options()
        await ask(signal, (signal) => agent.create({ name, options }, signal))
        return {}
      },
    },

    '/VolumeDriver.Get': {
      answerable: NONE_SUCH,
      run: async (request, { signal }) => ({ Volume: await get(request.name(), signal) }),
    },

    '/VolumeDriver.List': {
      run: async (_request, { signal }) => ({
        Volumes: (await ask(signal, (signal) => agent.list(signal), listMs)).map(toDockerVolume),
      }),
    },

    '/VolumeDriver.Path': {
      run: async (request, { signal }) => {
        const name = request.name()
        return { Mountpoint: (await ask(signal, (signal) => agent.get(name, signal))).mountpoint }
      },
    },

    '/VolumeDriver.Mount': {
      run: async (request, { delivered }) => ({
        Mountpoint: await mounts.mount(request.name(), request.mountId(), delivered),
      }),
    },

    '/VolumeDriver.Unmount': {
      run: async (request, { signal }) => {
        const name = request.name()
        const mountId = request.mountId()
        await ask(signal, (signal) => agent.unmount(name, mountId, signal))
        return {}
      },
    },

    '/VolumeDriver.Remove': {
      run: async (request, { signal }) => {
        const name = request.name()
        await ask(signal, async (signal, repeated) => {
          try {
            await agent.remove(name, signal)
          } catch (error) {
            // An attempt whose response was lost may have removed it.
            if (!repeated || codeOf(error) !== 'VOLUME_NOT_FOUND') throw error
          }
        })
        return {}
      },
    },
  }
}
