import { cpSync } from 'node:fs'
import type { Host } from '../../lab/host.ts'
import { until } from '../../lab/poll.ts'
import { type DocGround, type DocStep, ENABLE, step } from './doc-step.ts'

/** More than the three years for which scripts/certs makes a certificate. */
const OLD = 'LD_PRELOAD=$(echo /usr/lib/*/faketime/libfaketime.so.1) FAKETIME=-4y'

/** Waits until `wherry status` says it, with exit code 1. */
async function statusSays({ site }: DocGround, host: Host, pattern: RegExp): Promise<void> {
  await until(`${host.name}: ${pattern}`, async () => {
    const { code, stdout, stderr } = await site.on(host, 'wherry status', true)
    return code === 1 && pattern.test(stdout + stderr)
  })
}

/** What keeps the third host from being ready, one cause after the other. Its certificates are good afterwards. */
export const UNREADY_HOST: DocStep = step(
  'a certificate that is not good, or a port of another process: the host is not ready, and says why',
  {},
  async (_, ground) => {
    const { t, site, h3 } = ground
    const tls = `${h3.stateSeen}/tls`
    const make = (place: string, address: string, env = '') =>
      site.atDesk(`${env} scripts/certs ${place} ${address} >/dev/null`)
    const use = (place: string, host: string) => cpSync(`${site.checkout}/${place}/${host}`, tls, { recursive: true })

    await make('old', '10.0.0.3', OLD)
    use('old', h3.address)
    const settings = 'WHERRY_ADVERTISE=10.0.0.3 WHERRY_PEERS=10.0.0.1,10.0.0.2,10.0.0.3'
    const installed = await site.on(h3, `scripts/install ${settings}`, true)
    t.not(installed.code, 0)
    t.regex(installed.stderr, /cert\.pem expired on .* Make certificates with scripts\/certs/)

    await make('certs', '10.9.9.9')
    use('certs', '10.9.9.9')
    await statusSays(ground, h3, /cert\.pem is not for 10\.88\.0\.3, .* but for IP Address:10\.9\.9\.9/)
    use('certs', h3.address)

    await h3.docker(['plugin', 'disable', '--force', 'wherry'])
    const listen = 'busybox nc -ll -p 7451 -e true >/dev/null 2>&1 & echo $!'
    const { stdout } = await h3.exec(['bash', '-c', listen])
    await site.on(h3, ENABLE)
    await statusSays(ground, h3, /nats-server does not run: .*7451.*address already in use/)
    await h3.exec(['kill', stdout.trim()])
    await h3.docker(['plugin', 'rm', '--force', 'wherry'])
  },
)
