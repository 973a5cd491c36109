/** One command that a document tells the reader to type. */
export interface DocCommand {
  /** Without comment and indentation; continued lines are joined. */
  readonly text: string
  /** Line number, from 1 on. */
  readonly line: number
}

/** Languages of fenced blocks; those with commands are `sh` and none. */
const LANGUAGES = ['', 'sh', 'text'] as const

/** Lists the shell commands in the fenced blocks of a Markdown document. Throws on a block of an unknown language. */
export function readCommands(markdown: string): DocCommand[] {
  const commands: DocCommand[] = []
  let block: string | null = null
  /** Parts of a command that goes on in the next line. */
  let parts: string[] = []
  for (const [index, raw] of markdown.split('\n').entries()) {
    const fence = /^\s*```(\w*)\s*$/.exec(raw)
    if (fence !== null && parts.length === 0) {
      block = block === null ? languageOf(fence[1] ?? '', index + 1) : null
    } else if (block === 'sh' || block === '') {
      const { text, continues } = parseLine(raw)
      parts.push(text)
      if (continues) continue
      if (parts.join('') !== '') commands.push({ text: parts.join(' '), line: index + 2 - parts.length })
      parts = []
    }
  }
  if (block !== null) throw new Error('the last block of the document does not end')
  return commands
}

function languageOf(name: string, line: number): string {
  const known = LANGUAGES.find((language) => language === name)
  if (known === undefined) throw new Error(`line ${line}: a block of ${name}; there are sh and text`)
  return known
}

/** A comment is what follows two spaces and a `#`, or a whole line. */
function parseLine(raw: string): { text: string; continues: boolean } {
  const text = raw.replace(/(^|\s\s+)#.*$/, '').trim()
  return text.endsWith('\\') ? { text: text.slice(0, -1).trim(), continues: true } : { text, continues: false }
}
