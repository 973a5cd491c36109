import { z } from 'zod'
import { WherryError } from '../../model/errors.ts'

/** Versions of the transfer protocol, both ends included. */
export interface ProtocolRange {
  readonly lowest: number
  readonly highest: number
}

/**
 * What this version speaks. `highest` increases when a frame changes its meaning, and new frames follow only if the
 * chosen version has them. `lowest` is what the release before spoke.
 * From 6 on: what a host does not know in a request is ignored, and a request of unknown kind gets a reply.
 */
export const PROTOCOL: ProtocolRange = { lowest: 5, highest: 6 }

/** Hosts of version 5 send `version` alone, and refuse any but theirs. */
const hello = z.object({ version: z.int(), lowest: z.int().optional(), highest: z.int().optional() })

/** Returns the content of the frame that a source sends first. */
export function helloOf({ lowest, highest }: ProtocolRange): z.infer<typeof hello> {
  return { version: lowest, lowest, highest }
}

/** The content of that frame, as it may come from another host. */
export const helloSchema: z.ZodType<ProtocolRange> = hello.transform(({ version, lowest, highest }) => ({
  lowest: lowest ?? version,
  highest: highest ?? version,
}))

/** Returns the highest version that both sides speak. VERSION_SKEW: there is none. `peer` names the source. */
export function chooseProtocol(theirs: ProtocolRange, peer: string, spoken: ProtocolRange = PROTOCOL): number {
  const chosen = Math.min(theirs.highest, spoken.highest)
  if (chosen >= Math.max(theirs.lowest, spoken.lowest)) return chosen
  throw noCommon(theirs, peer, spoken)
}

/** Throws VERSION_SKEW for a version that `spoken` does not have. `peer` names the host that chose it. */
export function requireSpoken(version: number, peer: string, spoken: ProtocolRange): void {
  if (version >= spoken.lowest && version <= spoken.highest) return
  throw noCommon({ lowest: version, highest: version }, peer, spoken)
}

function noCommon(theirs: ProtocolRange, peer: string, spoken: ProtocolRange): WherryError {
  const [older, newer] = theirs.highest < spoken.lowest ? [peer, 'this host'] : ['this host', peer]
  return new WherryError(
    'VERSION_SKEW',
    `${peer} speaks ${described(theirs)} of the transfer protocol, and this host ${described(spoken)}.`,
    { hint: `Upgrade ${older} to the version of Wherry that ${newer} runs; wherry hosts shows the versions.` },
  )
}

function described({ lowest, highest }: ProtocolRange): string {
  return lowest === highest ? `version ${lowest}` : `versions ${lowest} to ${highest}`
}
