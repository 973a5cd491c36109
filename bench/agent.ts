import { createAgentClient } from '../agent/api/client.ts'
import type { AgentApi, VolumeView } from '../agent/api/contract.ts'
import type { Host } from '../lab/host.ts'
import { until } from '../lab/poll.ts'

const CALL_MS = 20_000
const READY_TIMEOUT_MS = 120_000

/** What a host's agent knows of a volume. */
export function volumeAt(host: Host, volume: string): Promise<VolumeView> {
  return ask(host, (agent, signal) => agent.get(volume, signal))
}

/** Resolves when the host's agent has the registry and the engine. */
export async function agentReady(host: Host): Promise<void> {
  const isReady = () => ask(host, async (agent, signal) => (await agent.health(signal)).ready)
  await until(`${host.name}: agent ready`, isReady, { timeoutMs: READY_TIMEOUT_MS })
}

async function ask<T>(host: Host, question: (agent: AgentApi, signal: AbortSignal) => Promise<T>): Promise<T> {
  await using agent = createAgentClient(`${host.stateSeen}/agent.sock`)
  return await question(agent, AbortSignal.timeout(CALL_MS))
}
