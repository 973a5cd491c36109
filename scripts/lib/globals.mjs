// In the bundle, these stand for globals of Node's (see bundle.ts).

/** Koa compares the type of every object body with it. Node's own loads all of fetch when it is named: 7 MB. */
export class Response {}
