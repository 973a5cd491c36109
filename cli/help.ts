/** What follows each command, and what it does, a line each. */
const USAGES: Readonly<Record<string, { readonly args?: string; readonly does: readonly string[] }>> = {
  ls: { does: ['volumes, who holds them, and how old their newest checkpoints are'] },
  inspect: { args: 'VOLUME', does: ['everything about one volume'] },
  hosts: { does: ['all hosts, their free space, zone, whether they are drained or cannot write their disk'] },
  promote: {
    args: 'VOLUME [--accept-loss]',
    does: [
      'let a volume go on without its holder, which is lost or cannot release it; with',
      '--accept-loss also without data that only that host has',
    ],
  },
  rm: {
    args: 'VOLUME [--force] [--accept-loss]',
    does: [
      'remove a volume from all hosts; with --force also one that services or containers',
      'refer to: running ones are killed; with --accept-loss also one whose holder is lost',
    ],
  },
  verify: {
    args: 'VOLUME',
    does: [
      "read this host's copy of an idle volume again, all of it, and compare it with its",
      'checkpoint; exit code 1 if it is damaged',
    ],
  },
  drain: {
    args: '[--off] [--no-wait]',
    does: [
      'move all copies away from this host, and say when they are gone; --no-wait: do not',
      'stay until then; --off: end that',
    ],
  },
  metrics: { does: ["this host's metrics in Prometheus' text format"] },
  recover: { does: ['write the records of a lost registry anew, from the disks of all hosts'] },
}

const COMMON = [
  '  --json          answer as JSON, for programs',
  "  --socket PATH   the agent's socket, default /var/lib/wherry/agent.sock",
].join('\n')

/** Where the descriptions begin. */
const INDENT = 34

const COMMANDS = Object.keys(USAGES).map(describe).join('\n')

/** What `wherry --help` says. */
export const HELP = `Usage: wherry COMMAND [OPTION ...]\n\n${COMMANDS}\n\n${COMMON}\n`

/** How one command is called. */
export function usageOf(name: string): string {
  const does = USAGES[name]?.does.map((line) => `  ${line}`) ?? []
  return `Usage: wherry ${callOf(name)} [--json] [--socket PATH]\n\n${does.join('\n')}\n\n${COMMON}\n`
}

function callOf(name: string): string {
  const args = USAGES[name]?.args
  return args === undefined ? name : `${name} ${args}`
}

function describe(name: string): string {
  const head = `  ${callOf(name)}`
  const [first = '', ...rest] = USAGES[name]?.does ?? []
  const lines = head.length + 1 < INDENT ? [`${head.padEnd(INDENT)}${first}`] : [head, `${' '.repeat(INDENT)}${first}`]
  return [...lines, ...rest.map((line) => `${' '.repeat(INDENT)}${line}`)].join('\n')
}
