// In the bundle, this stands for node:http (see bundle.ts). An import of that reads all its names at once, and some of
// them load fetch and WebSocket, which nobody here uses: 7 MB and 50 ms for each process.
module.exports = process.getBuiltinModule('http')
