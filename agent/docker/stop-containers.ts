import type Docker from 'dockerode'
import type { Engine } from './contract.ts'
import { ask, nullIfGone, statusOf } from './request.ts'

/** A pause takes about 20 ms. A fence retries after this time; the engine may still carry out the first request. */
const FREEZE_TIMEOUT_MS = 2_000
/** dockerd waits 10 s for a killed container, kills its process itself, and waits 2 s more (moby, daemon/kill.go). */
const KILL_TIMEOUT_MS = 15_000

type Freezing = Pick<Engine, 'pause' | 'unpause' | 'kill'>

/**
 * The calls that stop containers.
 * dockerd's replies differ by version: unpausing a container that is not paused returns 409, or 500 in 20.10.
 * So after every refusal the container's state is read (moby, daemon/pause.go, daemon/unpause.go).
 */
export function createFreezing(docker: Docker): Freezing {
  const look = async (container: string) => {
    const found = await docker.getContainer(container).inspect(limit(FREEZE_TIMEOUT_MS)).catch(nullIfGone)
    return found?.State ?? null
  }
  /** True: the engine did it now; false: the container is in the wanted state already, or gone. */
  const attempt = async (container: string, run: () => Promise<unknown>, isDone: (state: State) => boolean) => {
    try {
      await run()
      return true
    } catch (error) {
      if (statusOf(error) === undefined) throw error
      const state = statusOf(error) === 404 ? null : await look(container)
      if (state !== null && !isDone(state)) throw error
      return false
    }
  }
  const thaw = async (container: string) => {
    const run = () => docker.getContainer(container).unpause(limit(FREEZE_TIMEOUT_MS))
    await attempt(container, run, (state) => !state.Paused)
  }
  return {
    pause: (container) =>
      ask('pause a container', () => {
        const run = () => docker.getContainer(container).pause(limit(FREEZE_TIMEOUT_MS))
        return attempt(container, run, (state) => state.Paused || state.Restarting || !state.Running)
      }),
    unpause: (container) => ask('unpause a container', () => thaw(container)),
    kill: (container) =>
      ask('kill a container', async () => {
        const run = () => docker.getContainer(container).kill(limit(KILL_TIMEOUT_MS))
        await attempt(container, run, (state) => !state.Running)
        // For an engine that leaves it paused: the signal is delivered at the unpause, before any
        // instruction of it.
        if ((await look(container))?.Paused === true) await thaw(container)
      }),
  }
}

type State = Docker.ContainerInspectInfo['State']

/** A limit for the whole request: dockerode's own limit counts only silence on the socket. */
function limit(ms: number): { abortSignal: AbortSignal } {
  return { abortSignal: AbortSignal.timeout(ms) }
}
