import type Docker from 'dockerode'
import type { Engine } from './contract.ts'
import { ask, nullIfGone, statusOf } from './request.ts'

/** A pause takes about 20 ms. A fence retries after this long; the engine may still carry out the first request. */
const PAUSE_TIMEOUT_MS = 2_000
/** dockerd waits 10 s for a killed container, kills its process itself, and waits 2 s more (moby, daemon/kill.go). */
const KILL_TIMEOUT_MS = 15_000

type StopCalls = Pick<Engine, 'pause' | 'unpause' | 'kill'>

/**
 * Creates the calls that pause, resume and kill containers.
 * dockerd's status differs by version: unpausing a container that is not paused is 409, in 20.10 it is 500. So after
 * every refusal the container's state is read (moby, daemon/pause.go, daemon/unpause.go).
 */
export function createStopCalls(docker: Docker): StopCalls {
  const stateOf = async (container: string) => {
    const found = await docker.getContainer(container).inspect(limit(PAUSE_TIMEOUT_MS)).catch(nullIfGone)
    return found?.State ?? null
  }
  /** True: the engine did it now. False: the container was already as it should be, or is gone. */
  const attempt = async (container: string, run: () => Promise<unknown>, isDone: (state: State) => boolean) => {
    try {
      await run()
      return true
    } catch (error) {
      if (statusOf(error) === undefined) throw error
      const state = statusOf(error) === 404 ? null : await stateOf(container)
      if (state !== null && !isDone(state)) throw error
      return false
    }
  }
  const resume = async (container: string) => {
    const run = () => docker.getContainer(container).unpause(limit(PAUSE_TIMEOUT_MS))
    await attempt(container, run, (state) => !state.Paused)
  }
  return {
    pause: (container) =>
      ask('pause a container', () => {
        const run = () => docker.getContainer(container).pause(limit(PAUSE_TIMEOUT_MS))
        return attempt(container, run, (state) => state.Paused || state.Restarting || !state.Running)
      }),
    unpause: (container) => ask('unpause a container', () => resume(container)),
    kill: (container) =>
      ask('kill a container', async () => {
        const run = () => docker.getContainer(container).kill(limit(KILL_TIMEOUT_MS))
        await attempt(container, run, (state) => !state.Running)
        // The engine left it paused. On resume it gets the signal before it executes another instruction.
        if ((await stateOf(container))?.Paused === true) await resume(container)
      }),
  }
}

type State = Docker.ContainerInspectInfo['State']

/** Limits the whole request: dockerode's own limit counts only silence on the socket. */
function limit(ms: number): { abortSignal: AbortSignal } {
  return { abortSignal: AbortSignal.timeout(ms) }
}
