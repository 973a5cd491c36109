/** Logs 2,000 lines and says so, then one more line for each message that it gets. */
import { createLog } from '../../../agent/runtime/log.ts'

const log = createLog('info', { part: 'test' })
for (let nth = 1; nth <= 2_000; nth++) log.info({ nth, filling: 'x'.repeat(200) }, 'a line')
process.send?.('done')
process.on('message', (text) => log.info(String(text)))
