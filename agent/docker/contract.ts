/** A container that has a Wherry volume in its mounts, in any state. */
export interface VolumeUser {
  readonly id: string
  readonly name: string
  /** Docker's word: created, running, paused, restarting, exited, dead, removing. */
  readonly state: string
  /** Names of the volumes it mounts. */
  readonly volumes: readonly string[]
}

/** A Swarm task that is to run on a node and uses volumes. */
export interface PlacedTask {
  readonly task: string
  readonly service: string
  readonly node: string
  readonly volumes: readonly string[]
}

export interface EngineEvent {
  readonly kind: 'container' | 'node' | 'service' | 'daemon'
  readonly action: string
  readonly id: string
  readonly name: string
}

/** This host's engine. Every call has a time limit and rejects ENGINE_UNREACHABLE; nothing here is called before the plugin's socket serves. */
export interface Engine {
  /** Containers of any state that mount volumes of this driver. */
  users(): Promise<VolumeUser[]>
  /** When a container last stopped; null: it has not, or it is gone. */
  finishedAt(container: string): Promise<Date | null>
  /** Host name and Swarm state. `leader`: this engine is the Swarm's leading manager. */
  info(): Promise<{ name: string; swarmNode: string | null; leader: boolean }>
  /** Tasks that want to run, with the volumes they use. Leader only. */
  tasks(): Promise<PlacedTask[]>
  /** Calls `handler` for engine events until `signal` aborts; reconnects by itself and sends a `daemon` event after each connect. */
  watch(handler: (event: EngineEvent) => void, signal: AbortSignal): void
}
