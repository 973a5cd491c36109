// Says by its exit code whether node_modules is what package-lock.json asks for. Runs on any Node with npm's lock file
// version 3: npm writes what it installed to node_modules/.package-lock.json in the same form.
import { existsSync, readFileSync } from 'node:fs'

const packagesOf = (file) => JSON.parse(readFileSync(file, 'utf8')).packages
const hidden = 'node_modules/.package-lock.json'

if (!existsSync(hidden)) process.exit(1)
const installed = packagesOf(hidden)

for (const [path, wanted] of Object.entries(packagesOf('package-lock.json'))) {
  if (path === '') continue
  const there = installed[path]
  // Packages for other machines are optional and stay away.
  if (there === undefined && wanted.optional) continue
  if (there?.version !== wanted.version || there.integrity !== wanted.integrity || !existsSync(path)) process.exit(1)
}
if (!existsSync(`node_modules/node-linux-${process.arch}/bin/node`)) process.exit(1)
