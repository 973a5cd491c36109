export interface LabSettings {
  readonly rounds: number
  /** Below 1: less data and shorter rounds, to try the bench itself. */
  readonly scale: number
  readonly say: (line: string) => void
}

/** What a bench on real engines has to say. */
export interface LabReport {
  /** Tables for readers. */
  readonly text: string
  /** For the last line of the output. */
  readonly figures: Readonly<Record<string, unknown>>
}
