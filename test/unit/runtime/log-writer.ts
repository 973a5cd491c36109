/** Logs 2,000 lines and says so, then one more line for each message that it gets. After "crash" it does. */
import { createLog, logCrash } from '../../../agent/runtime/log.ts'

const log = createLog('info', { part: 'test' })
for (let nth = 1; nth <= 2_000; nth++) log.info({ nth, filling: 'x'.repeat(200) }, 'a line')
process.send?.('done')
logCrash(log)
process.on('message', (text) => {
  if (text === 'crash') throw new Error('it broke')
  log.info(String(text))
})
