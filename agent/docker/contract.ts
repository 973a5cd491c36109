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

/** A service of the Swarm that mounts volumes, whether a task of it runs or not. */
export interface SwarmService {
  readonly name: string
  /** Sources of its volume mounts as its spec has them; one may be a template (`data-{{.Task.Slot}}`). */
  readonly volumes: readonly string[]
}

/** A node of the Swarm. */
export interface SwarmNode {
  readonly id: string
  /** Goes up with every change of the node, whoever makes it. */
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

/** This host's engine. Every call has a time limit and rejects ENGINE_UNREACHABLE; nothing here is called before the plugin's socket serves. */
export interface Engine {
  /** Containers of any state that mount volumes of this driver. */
  users(): Promise<VolumeUser[]>
  /**
   * Freezes a container; true: this call did. False: it was paused already, or does not run any more. Rejects
   * ENGINE_UNREACHABLE; it may then still have happened.
   */
  pause(container: string): Promise<boolean>
  /** Lets a paused container go on; one that is not paused, or gone, is no error. */
  unpause(container: string): Promise<void>
  /** Kills a container, paused or not (it is unpaused by the kill); one that is gone is no error. */
  kill(container: string): Promise<void>
  /** All Swarm nodes. Leader only. */
  nodes(): Promise<readonly SwarmNode[]>
  /** Labels of all Swarm nodes, by node id. Leader only. */
  nodeLabels(): Promise<ReadonlyMap<string, Readonly<Record<string, string>>>>
  /**
   * Replaces those labels of a Swarm node that begin with `prefix`, if the node is still at that version; others stay.
   * One try. False: somebody else has changed the node, and nothing was written. Leader only.
   */
  setNodeLabels(
    node: string,
    version: number,
    prefix: string,
    labels: Readonly<Record<string, string>>,
  ): Promise<boolean>
  /** When a container last stopped; null: it has not, or it is gone. */
  finishedAt(container: string): Promise<Date | null>
  /** Host name and Swarm state. `leader`: this engine is the Swarm's leading manager. */
  info(): Promise<{ name: string; swarmNode: string | null; leader: boolean }>
  /** Tasks that want to run, with the volumes they use. Leader only. */
  tasks(): Promise<PlacedTask[]>
  /** Names of all volumes of Docker's own driver `local`. */
  localVolumes(): Promise<readonly string[]>
  /**
   * Services that mount volumes. `worker`: this engine is in a Swarm and no manager of it; `none`: it is in no Swarm.
   */
  services(): Promise<readonly SwarmService[] | 'worker' | 'none'>
  /** Calls `handler` for engine events until `signal` aborts; reconnects by itself and sends a `daemon` event after each connect. */
  watch(handler: (event: EngineEvent) => void, signal: AbortSignal): void
}
