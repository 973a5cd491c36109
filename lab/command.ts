import { type ChildProcess, spawn } from 'node:child_process'

export interface CommandOptions {
  /** Killed with SIGKILL after this long. */
  readonly timeoutMs?: number
  readonly input?: string | Buffer
  /** Resolve whatever the exit code is. */
  readonly allowFailure?: boolean
  /** Added to the environment. */
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
}

export interface CommandResult {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Longer than any single step of a lab takes; a command that hangs must not hang the whole run. */
const DEFAULT_TIMEOUT_MS = 180_000

/** Runs a program to its end. Rejects with what it printed when the exit code is not 0, unless `allowFailure`. */
export async function run(file: string, args: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS
  const child = spawn(file, args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  })
  // A program that ends without reading its input makes this pipe fail; its exit code says what matters.
  child.stdin.on('error', () => {})
  child.stdin.end(options.input ?? '')
  const result = await outcome(child, timeoutMs)
  if (result.code !== 0 && options.allowFailure !== true) {
    throw new Error(`${file} ${args.join(' ')}: exit code ${result.code}\n${result.stdout}${result.stderr}`)
  }
  return result
}

function outcome(child: ChildProcess, timeoutMs: number): Promise<CommandResult> {
  const stdout: Buffer[] = []
  const stderr: Buffer[] = []
  child.stdout?.on('data', (data: Buffer) => stdout.push(data))
  child.stderr?.on('data', (data: Buffer) => stderr.push(data))
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      stderr.push(Buffer.from(`\nkilled after ${timeoutMs} ms`))
      child.kill('SIGKILL')
    }, timeoutMs)
    child.on('error', (error) => {
      clearTimeout(timer)
      reject(error)
    })
    child.on('close', (code) => {
      clearTimeout(timer)
      resolve({ code: code ?? 137, stdout: text(stdout), stderr: text(stderr) })
    })
  })
}

function text(chunks: Buffer[]): string {
  return Buffer.concat(chunks).toString()
}
