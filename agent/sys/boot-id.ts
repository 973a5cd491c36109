import { readFile } from 'node:fs/promises'

/** Differs after every start of the kernel (random(4)): what was true of processes before is not any more. */
export async function bootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()
}
