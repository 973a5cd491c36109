import { join } from 'node:path'
import type { TlsFiles } from '../../../agent/bus/endpoint.ts'
import { certificates, freePorts, type NatsHostOptions, scratch, startHost, type TestHost } from './server.ts'

/** Hosts of one cluster on loopback addresses, each with a state directory of its own. */
export class TestCluster implements AsyncDisposable {
  readonly addresses: readonly string[]
  readonly dir: string
  readonly tls: Record<string, TlsFiles>
  readonly ports: readonly [number, number]
  readonly #scratch: AsyncDisposable
  readonly #hosts: TestHost[] = []

  private constructor(
    made: { dir: string } & AsyncDisposable,
    addresses: readonly string[],
    tls: Record<string, TlsFiles>,
    ports: readonly [number, number],
  ) {
    this.#scratch = made
    this.dir = made.dir
    this.addresses = addresses
    this.tls = tls
    this.ports = ports
  }

  static async create(size: number): Promise<TestCluster> {
    const made = await scratch()
    const addresses = Array.from({ length: size }, (_, n) => `127.0.0.${n + 1}`)
    const [client = 0, cluster = 0] = await freePorts(2)
    return new TestCluster(made, addresses, await certificates(join(made.dir, 'certs'), addresses), [client, cluster])
  }

  /** Options of the host with that address; `more` overrides. */
  options(address: string, more: Partial<NatsHostOptions> = {}): NatsHostOptions {
    const tls = this.tls[address]
    if (tls === undefined) throw new Error(`no certificate of ${address}`)
    return { stateDir: join(this.dir, address), address, peers: this.addresses, ports: this.ports, tls, ...more }
  }

  async start(address: string, more: Partial<NatsHostOptions> = {}): Promise<TestHost> {
    const host = await startHost(this.options(address, more))
    this.#hosts.push(host)
    return host
  }

  async startAll(): Promise<TestHost[]> {
    return Promise.all(this.addresses.map((address) => this.start(address)))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#hosts.map((host) => host[Symbol.asyncDispose]()))
    await this.#scratch[Symbol.asyncDispose]()
  }
}
