/** SD_LISTEN_FDS_START of systemd's sd_listen_fds(3), whose protocol the entrypoint speaks. */
const FIRST_FD = 3

/**
 * Returns the descriptor of a bound socket that the parent of process `pid` passed on, or null.
 * A child inherits the variables too: LISTEN_PID names the process they are for.
 */
export function handedSocket(env: NodeJS.ProcessEnv, pid: number): number | null {
  return env.LISTEN_PID === String(pid) && env.LISTEN_FDS === '1' ? FIRST_FD : null
}
