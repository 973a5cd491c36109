/** The plugin's real process with another agent: `node run-plugin.ts AGENT --root DIR`. */
import { runPlugin } from '../../../plugin/main.ts'

const [, , agentEntry = '', ...args] = process.argv
process.exit(await runPlugin({ args, env: process.env, agentEntry }))
