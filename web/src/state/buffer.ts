/**
 * The rows that the page keeps: events in the log's order, each once, and notes between them.
 *
 * New events join the rows at once, or wait aside while the reader holds the view (paused, or
 * scrolled up). Both parts are bounded; what is let go can be read back from the log, so nothing
 * here counts as lost. Rows have absolute indices that stay theirs when others come or go.
 */
import type { Event } from '../protocol/types.ts'

export type Tone = 'plain' | 'warning'

export type Row =
  | { readonly kind: 'event'; readonly event: Event }
  | { readonly kind: 'note'; readonly text: string; readonly tone: Tone }

export interface BufferLimits {
  /** Most rows shown. */
  readonly shown: number
  /** Most rows waiting while the view is held. */
  readonly held: number
}

const LIMITS: BufferLimits = { shown: 15_000, held: 5_000 }

const seqOf = (row: Row): number | null => (row.kind === 'event' ? (row.event.seq ?? null) : null)

function firstSeq(rows: readonly Row[]): number | null {
  for (const row of rows) {
    const seq = seqOf(row)
    if (seq !== null) return seq
  }
  return null
}

export class EventBuffer {
  #rows: Row[] = []
  #held: Row[] = []
  #base = 0
  #wall = -Infinity
  #newest = 0
  #holding = false
  #waiting = 0
  #broken = false
  #cuts = 0
  readonly #limits: BufferLimits

  constructor(limits: BufferLimits = LIMITS) {
    this.#limits = limits
  }

  get rows(): readonly Row[] {
    return this.#rows
  }

  /** The absolute index of the first row. */
  get base(): number {
    return this.#base
  }

  /** How many events came while the view was held. */
  get waiting(): number {
    return this.#waiting
  }

  get holding(): boolean {
    return this.#holding
  }

  /** Whether events between the last row and the newest were let go. */
  get broken(): boolean {
    return this.#broken
  }

  /** How often the oldest rows were let go: a page asked for before that no longer fits. */
  get cuts(): number {
    return this.#cuts
  }

  /** Before which seq older events may be asked for; null: before the head. */
  get oldest(): number | null {
    return firstSeq(this.#rows) ?? firstSeq(this.#held)
  }

  /** Whether what lies before the first row is of the same history. */
  get canGoBack(): boolean {
    return this.#base > this.#wall
  }

  at(index: number): Row | undefined {
    return this.#rows[index - this.#base]
  }

  /** Adds what arrived live; gives how many were new. */
  append(events: readonly Event[]): number {
    const fresh = events.filter((event) => this.#isNew(event))
    this.#add(fresh.map((event) => ({ kind: 'event', event })))
    if (this.#holding) this.#waiting += fresh.length
    return fresh.length
  }

  note(text: string, tone: Tone = 'plain'): void {
    this.#add([{ kind: 'note', text, tone }])
  }

  /** The log was replaced: seqs start anew, and nothing older can be asked for. */
  rewind(text: string): void {
    this.note(text, 'warning')
    this.#newest = 0
    this.#wall = this.#base + this.#rows.length + this.#held.length - 1
  }

  /** Puts older events, oldest first, before the rows; gives how many were new. */
  prepend(events: readonly Event[]): number {
    const before = this.oldest ?? Infinity
    const older = events.filter((event) => event.seq != null && event.seq < before)
    const last = older.at(-1)?.seq ?? 0
    this.#newest = Math.max(this.#newest, last)
    this.#rows.unshift(...older.map((event): Row => ({ kind: 'event', event })))
    this.#base -= older.length
    this.#trimEnd()
    return older.length
  }

  hold(): void {
    this.#holding = true
  }

  /** Lets what waited join the rows. If some of it was let go, the older rows go too: no holes. */
  release(): void {
    this.#holding = false
    if (this.#broken) this.#letGo(this.#rows.length)
    const waited = this.#held
    this.#held = []
    this.#waiting = 0
    this.#broken = false
    this.#add(waited)
  }

  clear(): void {
    this.#letGo(this.#rows.length)
    this.#held = []
    this.#waiting = 0
    this.#newest = 0
    this.#wall = -Infinity
    this.#broken = false
  }

  #isNew(event: Event): boolean {
    if (event.seq == null) return true
    if (event.seq <= this.#newest) return false
    this.#newest = event.seq
    return true
  }

  #add(rows: readonly Row[]): void {
    const into = this.#holding ? this.#held : this.#rows
    for (const row of rows) into.push(row)
    if (this.#holding) this.#trimHeld()
    else this.#trimStart()
  }

  #trimStart(): void {
    const excess = this.#rows.length - this.#limits.shown
    if (excess > 0) this.#letGo(excess)
  }

  #letGo(count: number): void {
    this.#rows.splice(0, count)
    this.#base += count
    this.#cuts += 1
  }

  #trimEnd(): void {
    if (this.#rows.length <= this.#limits.shown) return
    this.#rows.length = this.#limits.shown
    this.#broken = true
  }

  #trimHeld(): void {
    const excess = this.#held.length - this.#limits.held
    if (excess <= 0) return
    this.#held.splice(0, excess)
    this.#broken = true
  }
}
