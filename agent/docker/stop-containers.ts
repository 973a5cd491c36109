import type Docker from 'dockerode'
import type { Engine } from './contract.ts'
import { ask, nullIfGone, statusOf } from './request.ts'

/** Freezing takes about 20 ms. A fence tries again after this long; the engine may still carry the first request out. */
const FREEZE_TIMEOUT_MS = 2_000
/** dockerd waits 10 s for a killed container, kills its process by itself, and waits 2 s more (moby, daemon/kill.go). */
const KILL_TIMEOUT_MS = 15_000

type Freezing = Pick<Engine, 'pause' | 'unpause' | 'kill'>

/**
 * The calls that stop containers. What dockerd answers differs by version: to unpause what is not paused is 409 or, in 20.10, 500; so after every refusal
 * the container itself is asked how it is (moby, daemon/pause.go, daemon/unpause.go).
 */
export function createFreezing(docker: Docker): Freezing {
  const look = async (container: string) => {
    const found = await docker.getContainer(container).inspect(limit(FREEZE_TIMEOUT_MS)).catch(nullIfGone)
    return found?.State ?? null
  }
  /** Whether the engine did it now; false when the container is by itself as it should be, or gone. */
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
        // An engine that leaves it frozen: the signal is delivered when it thaws, before a single instruction of it.
        if ((await look(container))?.Paused === true) await thaw(container)
      }),
  }
}

type State = Docker.ContainerInspectInfo['State']

/** A limit for the whole request: the one of dockerode's own counts silence on the socket only. */
function limit(ms: number): { abortSignal: AbortSignal } {
  return { abortSignal: AbortSignal.timeout(ms) }
}
