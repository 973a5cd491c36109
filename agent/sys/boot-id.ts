import { readFile } from 'node:fs/promises'

/** Returns an id that differs after every start of the kernel (random(4)). Facts about processes do not outlive it. */
export async function bootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()
}
