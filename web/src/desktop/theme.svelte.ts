/** Light, dark, or as the system has it; remembered by this browser. */

export type Theme = 'system' | 'light' | 'dark'

const KEY = 'antiphon.theme'
const NEXT: Record<Theme, Theme> = { system: 'light', light: 'dark', dark: 'system' }

function remembered(): Theme {
  const value = localStorage.getItem(KEY)
  return value === 'light' || value === 'dark' ? value : 'system'
}

class Choice {
  theme = $state<Theme>(remembered())

  next(): void {
    this.theme = NEXT[this.theme]
    localStorage.setItem(KEY, this.theme)
    this.apply()
  }

  apply(): void {
    document.documentElement.dataset['theme'] = this.theme
  }
}

export const choice = new Choice()
