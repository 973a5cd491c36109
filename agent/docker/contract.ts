/** A container in any state that mounts a Wherry volume. */
export interface VolumeUser {
  readonly id: string
  readonly name: string
  /** Docker's word: created, running, paused, restarting, exited, dead, removing. */
  readonly state: string
  /** Names of the volumes it mounts. */
  readonly volumes: readonly string[]
}

/** A Swarm task that is to run on a node and mounts volumes. */
export interface PlacedTask {
  readonly task: string
  readonly service: string
  readonly node: string
  /** Names of its volumes. One whose name depends on what a manager cannot tell is left out. */
  readonly volumes: readonly string[]
  /** Options that its service asks for (`driver_opts`), by the volume's name; without those of volumes with none. */
  readonly options: Readonly<Record<string, Readonly<Record<string, string>>>>
}

/** A service of the Swarm that mounts volumes, with or without running tasks. */
export interface SwarmService {
  readonly name: string
  /** Sources of its volume mounts as in its spec. One may be a template (`data-{{.Task.Slot}}`). */
  readonly volumes: readonly string[]
}

/** A node of the Swarm. */
export interface SwarmNode {
  readonly id: string
  /** Rises with every change of the node, by Wherry or others. */
  readonly version: number
  readonly labels: Readonly<Record<string, string>>
  /** Its availability is `drain`: Swarm moves all tasks away. */
  readonly drained: boolean
}

export interface EngineEvent {
  readonly kind: 'container' | 'node' | 'service' | 'volume' | 'daemon'
  readonly action: string
  readonly id: string
  readonly name: string
}

/**
 * This host's engine. Every call has a time limit and rejects ENGINE_UNREACHABLE.
 * No call is made before the plugin's socket serves.
 */
export interface Engine {
  /** Lists containers of any state that mount volumes of this driver. */
  users(): Promise<VolumeUser[]>
  /**
   * Pauses a container. True: this call did. False: it was paused already, or no longer runs.
   * ENGINE_UNREACHABLE: it may still have happened.
   */
  pause(container: string): Promise<boolean>
  /** Resumes a paused container. One that is not paused, or gone, is no error. */
  unpause(container: string): Promise<void>
  /** Kills a container, paused or not (the kill unpauses it). One that is gone is no error. */
  kill(container: string): Promise<void>
  /** Lists all Swarm nodes. Leader only. */
  nodes(): Promise<readonly SwarmNode[]>
  /** Lists labels of all Swarm nodes, by node id. Leader only. */
  nodeLabels(): Promise<ReadonlyMap<string, Readonly<Record<string, string>>>>
  /**
   * Replaces those labels of a Swarm node that begin with `prefix`, if the node is still at that version.
   * Other labels stay. One attempt. False: the node has changed, and nothing was written. Leader only.
   */
  setNodeLabels(
    node: string,
    version: number,
    prefix: string,
    labels: Readonly<Record<string, string>>,
  ): Promise<boolean>
  /** Returns when a container last stopped; null: it has not, or it is gone. */
  finishedAt(container: string): Promise<Date | null>
  /** Returns host name and Swarm state. `leader`: this engine is the Swarm's leading manager. */
  info(): Promise<{ name: string; swarmNode: string | null; leader: boolean }>
  /** Lists tasks that are to run, with the volumes they use. Leader only. */
  tasks(): Promise<PlacedTask[]>
  /** Lists the names of all volumes of Docker's own driver `local`. */
  localVolumes(): Promise<readonly string[]>
  /**
   * Services that mount volumes. `worker`: this engine is a Swarm node and not a manager. `none`: it is in no Swarm.
   */
  services(): Promise<readonly SwarmService[] | 'worker' | 'none'>
  /** Calls `handler` for events until `signal` aborts. Reconnects, and sends a `daemon` event after each connect. */
  watch(handler: (event: EngineEvent) => void, signal: AbortSignal): void
}
