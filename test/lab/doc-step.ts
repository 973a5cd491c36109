import type { ExecutionContext } from 'ava'
import type { DocSite } from './doc-site.ts'
import type { LabGround } from './fixture.ts'

/** What a step works with. */
export interface DocGround extends LabGround {
  readonly t: ExecutionContext
  readonly site: DocSite
}

/** A task of the documents. It runs each of its commands, and may run those of other steps. */
export interface DocStep {
  readonly title: string
  /** As they are documented. */
  readonly commands: Readonly<Record<string, string>>
  readonly run: (ground: DocGround) => Promise<void>
}

/** Commands of many tasks. Each belongs to the step that lists it. */
export const DISABLE = 'docker plugin disable --force wherry'
export const ENABLE = 'docker plugin enable --timeout 0 wherry'
export const HOSTS = 'wherry hosts'
export const LIST = 'wherry ls'
export const INSTALL = [
  'docker plugin install --grant-all-permissions --disable --alias wherry REGISTRY/wherry',
  'WHERRY_PEERS=10.0.0.1,10.0.0.2,10.0.0.3',
].join(' ')
export const CREATE = 'docker volume create --driver wherry data'

/** A step whose function gets its commands by name. */
export function step<C extends Readonly<Record<string, string>>>(
  title: string,
  commands: C,
  run: (commands: C, ground: DocGround) => Promise<void>,
): DocStep {
  return { title, commands, run: (ground) => run(commands, ground) }
}
