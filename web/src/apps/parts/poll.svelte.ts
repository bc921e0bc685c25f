/** Asks again every two seconds while the page is in sight. */

const EVERY_MS = 2_000

export class Poll<T> {
  value = $state.raw<T | null>(null)
  failure = $state<string | null>(null)
  readonly #ask: () => Promise<T>

  constructor(ask: () => Promise<T>) {
    this.#ask = ask
  }

  /** Starts; gives what stops it. */
  run(): () => void {
    let over = false
    let timer: ReturnType<typeof setTimeout> | undefined
    const again = async (): Promise<void> => {
      if (document.visibilityState === 'visible') await this.#once()
      if (!over) timer = setTimeout(again, EVERY_MS)
    }
    void again()
    return () => {
      over = true
      clearTimeout(timer)
    }
  }

  async #once(): Promise<void> {
    try {
      this.value = await this.#ask()
      this.failure = null
    } catch (error) {
      this.failure = error instanceof Error ? error.message : String(error)
    }
  }
}
