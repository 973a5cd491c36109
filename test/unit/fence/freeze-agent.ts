/**
 * Plays an agent: freezes CONTAINER below ROOT for BUDGET_MS at most, and sends `still`.
 * Sends `cut` when it knows that the container runs again.
 */
import { pino } from 'pino'
import { createFreezerClient } from '../../../agent/fence/freezer-client.ts'
import { openFreezerFiles } from '../../../agent/fence/freezer-files.ts'

const [, , root = '', container = '', budgetMs = ''] = process.argv
const log = pino({ level: 'silent' })
const freezes = createFreezerClient({ channel: process, files: openFreezerFiles(root), killPlugin: () => {}, log })
const { cut } = await freezes.freeze([container], Number(budgetMs), new AbortController().signal)
cut.addEventListener('abort', () => process.send?.('cut'))
process.send?.('still')
setInterval(() => {}, 1_000)
