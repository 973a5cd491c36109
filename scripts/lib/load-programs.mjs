// Loads the plugin's programs and threads, as the package.json beside this file names them, and all that they import,
// early or late; fails when something is missing. Runs none of them, but for a wherry command that prints its help.
// Started with NODE_COMPILE_CACHE, it leaves there what they compile.
import { existsSync, globSync, readFileSync } from 'node:fs'
import { flushCompileCache } from 'node:module'
import { isMainThread, Worker, workerData } from 'node:worker_threads'

/** In a thread of its own, where no program takes itself for the one that was started. */
async function load(url) {
  const nothing = { places: [], isReadOnly: false }
  const worker = new Worker(new URL(import.meta.url), { workerData: { url, ...nothing }, argv: [], stdout: true })
  worker.stdout.resume()
  await new Promise((resolve, reject) => {
    worker.on('error', reject)
    worker.on('exit', (code) => (code === 0 ? resolve() : reject(new Error(`${url} ended with code ${code}`))))
  })
}

if (isMainThread) {
  const here = import.meta.dirname
  const { imports } = JSON.parse(readFileSync(`${here}/package.json`, 'utf8'))
  const late = globSync('chunks/*.js', { cwd: here })
  for (const path of ['plugin/main.js', 'cli/wherry.js', ...Object.values(imports), ...late]) {
    const url = new URL(path, import.meta.url)
    if (!existsSync(url)) throw new Error(`${path} is missing.`)
    if (path.endsWith('.js')) await load(url.href)
  }
} else {
  await import(workerData.url)
  flushCompileCache()
  process.exit(0)
}
