import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { freePort } from '../../../agent/bus/free-port.ts'
import { pathsUnder } from '../../../agent/host/paths.ts'
import { ADDRESS, directory, moverCertificates } from './kit.ts'

const here = (file: string) => fileURLToPath(new URL(file, import.meta.url))

/** The agent's real process, with nobody at the other end of its NATS settings; answers when it serves. */
async function startAgent(t: ExecutionContext) {
  const root = await directory(t)
  const tlsDir = join(pathsUnder(root).stateDir, 'tls')
  await mkdir(tlsDir, { recursive: true })
  await cp(await moverCertificates(t), tlsDir, { recursive: true })
  const boom = join(root, 'boom')
  const child = spawn(process.execPath, ['--import', here('boom.ts'), here('../../../agent/main.ts'), '--root', root], {
    env: {
      BOOM: boom,
      WHERRY_ADVERTISE: ADDRESS,
      WHERRY_NATS: `nats://${ADDRESS}:${await freePort()}`,
      WHERRY_TRANSFER_PORT: String(await freePort()),
      WHERRY_LOG: 'info',
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  const ended = Promise.all([once(child, 'exit') as Promise<[number | null]>, text(child.stderr)])
  for await (const line of createInterface({ input: child.stdout })) if (line.includes('agent serves')) break
  child.stdout.resume()
  return { child, boom, ended: ended.then(([[code], stderr]) => ({ code, stderr })) }
}

test('an agent whose mover dies ends with 1 and says so: the plugin starts it again', async (t) => {
  const { boom, ended } = await startAgent(t)
  await writeFile(boom, '')
  const { code, stderr } = await ended
  t.is(code, 1)
  t.regex(stderr, /^wherry: The thread that keeps and moves the data has died: a bug nobody caught\./m)
})

test('SIGTERM ends the agent with 0, its mover with it', async (t) => {
  const { child, ended } = await startAgent(t)
  child.kill('SIGTERM')
  t.deepEqual(await ended, { code: 0, stderr: '' })
})
