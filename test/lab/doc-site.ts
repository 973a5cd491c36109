import { mkdirSync, rmdirSync, symlinkSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { type CommandResult, run } from '../../lab/command.ts'
import type { Host } from '../../lab/host.ts'
import { postgres } from '../../lab/images.ts'
import type { Lab } from '../../lab/lab.ts'

const REPOSITORY = fileURLToPath(new URL('../../', import.meta.url))
/** The documented state directory; in each host of the lab its own is mounted there. */
const STATE = '/var/lib/wherry'

/**
 * A checkout, and three hosts that look as the documents have them: documented commands run on them as they are
 * written, but for names and addresses.
 */
export class DocSite {
  readonly lab: Lab
  readonly checkout: string
  readonly #hasMadeState: boolean
  /** What the documents call it, and what it is in this lab. */
  readonly #names: Map<string, string>
  readonly #ran = new Set<string>()

  private constructor(lab: Lab, checkout: string, hasMadeState: boolean, names: Map<string, string>) {
    this.lab = lab
    this.checkout = checkout
    this.#hasMadeState = hasMadeState
    this.#names = names
  }

  static async open(lab: Lab): Promise<DocSite> {
    const checkout = `${lab.directory}/checkout`
    mkdirSync(checkout)
    symlinkSync(`${REPOSITORY}scripts`, `${checkout}/scripts`)
    const hasMadeState = mkdirSync(STATE, { recursive: true }) !== undefined
    await Promise.all(lab.hosts.map(furnish))
    mkdirSync(`${checkout}/bin`)
    for (const name of ['ssh', 'scp'])
      symlinkSync(`${REPOSITORY}test/fixtures/lab-${name}.sh`, `${checkout}/bin/${name}`)
    const names = new Map([
      ...lab.hosts.map(({ index, address }): [string, string] => [`10.0.0.${index}`, address]),
      ...lab.hosts.map(({ index, name }): [string, string] => [`node${index}`, name]),
      ['REGISTRY', lab.registry],
      ['/srv/wherry', lab.host(1).stateDir],
      ['/var/lib/node_exporter', checkout],
      ['volume-driver=wherry postgres:17', `volume-driver=wherry ${await lab.image(postgres)}`],
    ])
    return new DocSite(lab, checkout, hasMadeState, names)
  }

  /** Says what a documented name stands for from now on. */
  name(documented: string, actual: string): void {
    this.#names.set(documented, actual)
  }

  /** Whether the documented command was run. */
  hasRun(text: string): boolean {
    return this.#ran.has(text)
  }

  /** Runs a documented command on a host: in the checkout, as root, in a shell. */
  on(host: Host, text: string, allowFailure = false): Promise<CommandResult> {
    // Commands delete things there: it must be the lab's.
    const isLab = `[ ${STATE} -ef ${host.stateDir} ] || exit 99`
    const env = {
      PATH: `/usr/local/bin:${this.lab.engine.path}`,
      DOCKER_HOST: '',
      DOCKER_CONFIG: `${this.lab.directory}/docker-config`,
    }
    return host.exec(['bash', '-c', `${isLab}; cd ${this.checkout} && ${this.#translate(text)}`], { env, allowFailure })
  }

  /** Runs a documented command on the operator's own machine, in the checkout. */
  atDesk(text: string): Promise<CommandResult> {
    // The first process of each host, for the stand-ins of ssh and scp.
    const processes = this.lab.hosts.map(({ address, stateSeen }) => `${address}=${stateSeen.split('/')[2]}`)
    const env = { PATH: `${this.checkout}/bin:${process.env.PATH}`, LAB_PROCESSES: processes.join(' ') }
    return run('bash', ['-c', this.#translate(text)], { env, cwd: this.checkout })
  }

  /** Removes what it has made outside of the lab's directory. */
  close(): void {
    if (this.#hasMadeState) rmdirSync(STATE)
  }

  #translate(text: string): string {
    this.#ran.add(text)
    return [...this.#names].reduce((command, [documented, actual]) => command.replaceAll(documented, actual), text)
  }
}

/** Gives a host a state directory at the usual place, and a /usr/local/bin of its own above the machine's. */
async function furnish(host: Host): Promise<void> {
  const [upper, work] = [`${host.directory}/programs`, `${host.directory}/programs-work`]
  for (const directory of [upper, work]) mkdirSync(directory)
  const programs = `lowerdir=/usr/local/bin,upperdir=${upper},workdir=${work}`
  await host.exec(['mount', '--bind', host.stateDir, STATE])
  await host.exec(['mount', '-t', 'overlay', 'overlay', '-o', programs, '/usr/local/bin'])
}
