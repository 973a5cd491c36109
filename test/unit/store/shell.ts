import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { ExecutionContext } from 'ava'

export const HERE: readonly string[] = ['bash', '-c']

/** A process that runs `before` in a shell, has said so, and runs `after` when it is told to. It ends with the test. */
export async function runShell(
  t: ExecutionContext,
  command: readonly string[],
  before: string,
  after = ':',
): Promise<ChildProcessWithoutNullStreams> {
  const [file = '', ...more] = command
  const child = spawn(file, [...more, `${before}; echo ready; read _; ${after}`])
  t.teardown(() => child.kill('SIGKILL'))
  await once(child.stdout, 'data')
  return child
}
