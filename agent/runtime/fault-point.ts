/** Called after each named step of an operation; tests end the process there. */
export type FaultPoint = (step: string) => void

/** The fault point outside of tests: does nothing. */
export const noFault: FaultPoint = () => {}
