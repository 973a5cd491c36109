import type { Checkpoint } from '../../model/model.ts'

/** What ends every line that a further try may resolve. */
const AGAIN = 'run this again'
const OR_WITHOUT = `Bring that host back, or take it out of WHERRY_PEERS here if it is gone for good, then ${AGAIN}.`

/** A host that did not answer. `host`: its label. */
export function silentHost(host: string, why: string): string {
  return [
    `Host ${host} did not answer (${why.replace(/\.$/, '')}).`,
    'Volumes that only it has are not seen; what it alone has written is kept there when it comes back.',
  ].join(' ')
}

/** A copy's directory that cannot be read. */
export function damagedCopy(host: string, path: string, reason: string): string {
  return `${path} on host ${host} cannot be understood and was left out: ${reason}`
}

/** A copy of the volume is in a format that its own host, or this one, cannot read: it may be held there. */
export function unreadableCopy(name: string, id: string): string {
  return [
    `Volume "${name}" was not written: a copy of it (${id}) is in a format that could not be read, see above.`,
    `It may be held there. Upgrade this host and the one that has it, then ${AGAIN}.`,
  ].join(' ')
}

/** The registry has a record that this version cannot read. */
export function unreadableRecord(name: string, reason: string): string {
  return `Volume "${name}" was left as it is: ${reason}`
}

/** Living hosts did not answer. `hosts`: their labels. */
export function livingSilent(hosts: readonly string[]): string {
  return [
    `Nothing was written: ${hosts.join(', ')} lives and did not answer; it may be writing to a volume now.`,
    `Make it reachable, or stop it, and ${AGAIN}.`,
  ].join(' ')
}

/** Half of the hosts or more did not answer. */
export function mostSilent(silent: number, all: number): string {
  return [
    `Nothing was written: ${silent} of ${all} hosts did not answer, and what they have may be newer.`,
    `Start more of them, or take those that are gone for good out of WHERRY_PEERS, and ${AGAIN}.`,
  ].join(' ')
}

/** This host has not watched for long enough. */
export function notWatchedYet(silent: number, all: number, neededMs: number): string {
  return [
    `Nothing was written: ${silent} of ${all} hosts did not answer,`,
    'and this host cannot tell yet that they do not live:',
    `it has not reached the registry without a break for ${Math.ceil(neededMs / 1000)} s.`,
    'Run this again then, or on another host.',
  ].join(' ')
}

/** The registry did not confirm a record. */
export function recordUnconfirmed(name: string): string {
  return `Volume "${name}": the registry did not confirm its record in time. Run this again.`
}

/** The registry has another volume of that name. */
export function nameTaken(name: string, inRegistry: string, onDisks: string): string {
  return [
    `Volume "${name}": the registry has another volume of that name (id ${inRegistry}), the disks have ${onDisks}.`,
    `If the one in the registry is new and empty, remove it (docker volume rm ${name}) and ${AGAIN}.`,
  ].join(' ')
}

/** Registry and disks contradict each other. */
export function recordConflict(name: string, id: string, { epoch, seq }: Checkpoint): string {
  return [
    `Volume "${name}": the registry and the disks have different data under the same checkpoint ${epoch}.${seq}.`,
    `Keep the directories volumes/${id} on all hosts and ask for help.`,
  ].join(' ')
}

/** Two disks contradict each other. */
export function diskConflict(name: string, { epoch, seq }: Checkpoint): string {
  return [
    `Volume "${name}": disks have different data under the same checkpoint ${epoch}.${seq}.`,
    'Keep both directories and ask for help.',
  ].join(' ')
}

/** Two hosts contradict each other about a volume's history. `claim`: what one has. `host`, `against`: ids. */
export function contradicted(name: string, claim: string, host: string, against: string): string {
  return [
    `Volume "${name}": host ${host} has ${claim},`,
    `and by what host ${against} has seen that cannot be its newest state.`,
    `Move the directory volumes/ID of the wrong one away on its host, then ${AGAIN}.`,
  ].join(' ')
}

/** One host has a checkpoint that no disk knows from a record, and others have data. */
export function unnamed(name: string, host: string, { epoch, seq }: Checkpoint): string {
  return [
    `Volume "${name}": only host ${host} has checkpoint ${epoch}.${seq}, and no disk knows that a record named it.`,
    'To continue from it, move the directories volumes/ID of the other hosts away; to continue without it, that of',
    `host ${host}. Then ${AGAIN}.`,
  ].join(' ')
}

/** One host alone says that the registry has lost changes of a volume. */
export function loneAgainstRecord(name: string, host: string, epochSeen: number, epoch: number): string {
  return [
    `Volume "${name}": only host ${host} has seen epoch ${epochSeen}, the registry's record has epoch ${epoch},`,
    'and other hosts have data of it. If the record is old, move the directories volumes/ID of the other hosts away;',
    `if not, that of host ${host}. Then ${AGAIN}.`,
  ].join(' ')
}

/** Two hosts hold the volume in the same epoch. */
export function twoHolders(name: string, hosts: readonly string[], epoch: number): string {
  return [
    `Volume "${name}": hosts ${hosts.join(' and ')} both say that they hold it in epoch ${epoch}.`,
    `Stop its containers on one of them, then ${AGAIN}.`,
  ].join(' ')
}

/** The holder was cut off, or will find out whether it was. */
export function doubtfulHolder(name: string, host: string): string {
  return [
    `Volume "${name}": host ${host} holds it by its own disk, but cannot be certain,`,
    `and a host that did not answer may have taken it over. ${OR_WITHOUT}`,
  ].join(' ')
}

/**
 * A silent host may hold it. No other host has a checkpoint, so that host does not fence itself and may be writing.
 * An idle record would be mounted empty elsewhere.
 */
export function withoutData(name: string, hosts: readonly string[]): string {
  return [
    `Volume "${name}": no host that answered has usable data of it (known on ${hosts.join(', ')}),`,
    `and a host that did not answer may have its data and be writing to it. ${OR_WITHOUT}`,
  ].join(' ')
}

/** The only checkpoint is under a hold that was taken over. */
export function takenOverOnly(name: string, host: string, epoch: number | undefined): string {
  return [
    `Volume "${name}": the only checkpoint is on host ${host}, whose hold (epoch ${epoch}) was taken over.`,
    'Bring the host back that took it over, or keep the directory and ask for help.',
  ].join(' ')
}

/** Disks have several volumes of that name. `each`: what each disk has. */
export function severalVolumes(name: string, each: readonly string[]): string {
  return [
    `Volume "${name}": disks have different volumes of that name: ${each.join('; ')}.`,
    `Move the directory volumes/ID of the wrong one away on its host, then ${AGAIN}.`,
  ].join(' ')
}
