/** Called after each numbered step of a work, with the step's name; tests end the process there. */
export type FaultPoint = (step: string) => void

/** What is handed in outside of tests. */
export const noFault: FaultPoint = () => {}
