/** Splitting what people type into patterns. What a pattern may be, the server says. */

export const EVERYTHING: readonly string[] = ['*']

/** `worker.*, file.*` → its patterns, each once; nothing typed means everything. */
export function splitPatterns(text: string): readonly string[] {
  const parts = text.split(',').map((part) => part.trim())
  const given = parts.filter((part) => part !== '')
  return given.length === 0 ? EVERYTHING : [...new Set(given)]
}

export function joinPatterns(patterns: readonly string[]): string {
  return patterns.length === 1 && patterns[0] === '*' ? '' : patterns.join(', ')
}
