/** Starts a lab, says where it is, and never ends: for the test that kills a lab's owner. */
import { setTimeout as sleep } from 'node:timers/promises'
import { Lab } from './lab.ts'

const lab = await Lab.start({ hosts: 2, swarm: true })
console.log(lab.directory)
while (true) await sleep(60_000)
