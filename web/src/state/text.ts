/** Words and numbers for people, and the one-line form of a payload. No HTML is made here. */

const TIME = new Intl.DateTimeFormat('en-GB', {
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  fractionalSecondDigits: 3,
  hour12: false,
})
const NUMBER = new Intl.NumberFormat('en-GB')

/** `2026-01-02T03:04:05.678Z` → the local `03:04:05.678`. */
export function clock(time: string): string {
  const at = Date.parse(time)
  return Number.isNaN(at) ? '–' : TIME.format(at)
}

export const count = (value: number): string => NUMBER.format(value)

export const plural = (value: number, one: string, many = `${one}s`): string =>
  `${count(value)} ${value === 1 ? one : many}`

export function rate(perSecond: number): string {
  return perSecond > 0 && perSecond < 10 ? perSecond.toFixed(1) : count(Math.round(perSecond))
}

export function duration(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`
  if (ms < 60_000) return `${(ms / 1_000).toFixed(ms < 10_000 ? 1 : 0)} s`
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} min`
  if (ms < 86_400_000) return `${Math.floor(ms / 3_600_000)} h`
  return `${Math.floor(ms / 86_400_000)} d`
}

// Controls and the marks that turn the writing direction round: shown as escapes, so that
// a payload cannot rearrange the line that it stands in.
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g

export function visible(text: string): string {
  return text.replace(HIDDEN, (mark) => `\\u${mark.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

const PREVIEW_CHARS = 240

/** A payload on one line; a plain text, and what a worker wrote, stands without quotes. */
export function preview(payload: unknown, type = ''): string {
  return type === 'worker_progress' && isOutput(payload) ? output(payload.lines) : line(payload)
}

const isOutput = (payload: unknown): payload is { lines: unknown[] } =>
  typeof payload === 'object' &&
  payload !== null &&
  'lines' in payload &&
  Array.isArray(payload.lines)

const output = (lines: readonly unknown[]): string =>
  visible(lines.slice(0, 20).map(String).join(' ⏎ ').slice(0, PREVIEW_CHARS))

function line(payload: unknown): string {
  if (payload === null || payload === undefined) return ''
  if (typeof payload === 'string') return visible(payload.slice(0, PREVIEW_CHARS))
  if (typeof payload !== 'object') return String(payload)
  if (Array.isArray(payload)) return visible(JSON.stringify(payload).slice(0, PREVIEW_CHARS))
  return visible(fields(payload as Record<string, unknown>)).slice(0, PREVIEW_CHARS)
}

function fields(payload: Record<string, unknown>): string {
  let line = ''
  for (const [key, value] of Object.entries(payload)) {
    line += `${line === '' ? '' : '  '}${key} ${JSON.stringify(value)}`
    if (line.length > PREVIEW_CHARS) break
  }
  return line === '' ? '{}' : line
}

export interface Piece {
  readonly kind: 'key' | 'string' | 'number' | 'word' | 'plain'
  readonly text: string
}

const TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|(true|false|null)/g
const COLOURED_CHARS = 60_000

/** Pretty JSON in pieces to colour; a very long one stays one plain piece. */
export function prettyJson(value: unknown): Piece[] {
  const text = JSON.stringify(value, null, 2) ?? 'null'
  if (text.length > COLOURED_CHARS) return [{ kind: 'plain', text }]
  const pieces: Piece[] = []
  let done = 0
  for (const match of text.matchAll(TOKEN)) {
    const [whole, quoted, colon, number] = match
    if (match.index > done) pieces.push({ kind: 'plain', text: text.slice(done, match.index) })
    pieces.push({ kind: kindOf(quoted, colon, number), text: visible(whole) })
    done = match.index + whole.length
  }
  if (done < text.length) pieces.push({ kind: 'plain', text: text.slice(done) })
  return pieces
}

function kindOf(quoted?: string, colon?: string, number?: string): Piece['kind'] {
  if (quoted !== undefined) return colon === undefined ? 'string' : 'key'
  return number === undefined ? 'word' : 'number'
}

export type Family = 'worker' | 'file' | 'talk' | 'system' | 'finding' | 'a' | 'b' | 'c'

const FAMILIES: Readonly<Record<string, Family>> = {
  worker: 'worker',
  file: 'file',
  chat: 'talk',
  user: 'talk',
  system: 'system',
  _sys: 'system',
  finding: 'finding',
}
const OTHERS: readonly Family[] = ['a', 'b', 'c']

/** A topic without its last token, which tells the most and is never cut short. */
export const stem = (topic: string): string => visible(topic.slice(0, lastDot(topic)))

/** The last token with its dot; nothing where it is the only one. */
export const leaf = (topic: string): string => visible(topic.slice(lastDot(topic)))

const lastDot = (topic: string): number => {
  const at = topic.lastIndexOf('.')
  return at < 0 ? topic.length : at
}

/** Which colour a topic has: its first token decides. */
export function family(topic: string): Family {
  const first = topic.split('.', 1)[0] ?? ''
  if (Object.hasOwn(FAMILIES, first)) return FAMILIES[first] as Family
  let sum = 0
  for (let at = 0; at < first.length; at += 1) sum = (sum * 31 + first.charCodeAt(at)) >>> 0
  return OTHERS[sum % OTHERS.length] as Family
}

/** Whether an event tells of something that went wrong. */
export const isBad = (type: string): boolean => /(^|[._])(failed|error)$/.test(type)
