// In the bundle, these stand for globals of Node's (see bundle.ts).

/** Koa asks of every body that is an object whether it is one. Node's own loads all of fetch when it is named: 7 MB. */
export class Response {}
