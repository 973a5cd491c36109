import { parentPort, workerData } from 'node:worker_threads'
import { scanTreeUse, type TreeScan } from './tree-scan.ts'

/** The process that is being inspected (0: none), and the number of questions so far. */
const at = workerData as Int32Array

parentPort?.on('message', (scan: TreeScan) => {
  const use = scanTreeUse(scan, (pid) => {
    Atomics.store(at, 0, pid)
    Atomics.add(at, 1, 1)
  })
  Atomics.store(at, 0, 0)
  parentPort?.postMessage(use)
})
