/** Every colour of text against every ground that it stands on: WCAG AA, 4.5 to 1. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import test from 'node:test'

const css = readFileSync(new URL('../src/desktop/tokens.css', import.meta.url), 'utf8')
const TOKEN = /--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)/g
const tokens = new Map([...css.matchAll(TOKEN)].map(([, name, ...pair]) => [name ?? '', pair]))

const TEXT = /^(ink|soft|muted|voice|accent|good|amber|bad|hue-.*|json-.*)$/
const GROUNDS = ['ground', 'surface', 'hover', 'chosen']

function luminance(colour: string): number {
  const [red, green, blue] = [1, 3, 5].map((at) => {
    const part = Number.parseInt(colour.slice(at, at + 2), 16) / 255
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4
  }) as [number, number, number]
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue
}

function contrast(one: string, other: string): number {
  const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b) as [number, number]
  return (high + 0.05) / (low + 0.05)
}

function check(text: string, ground: string): void {
  for (const mode of [0, 1]) {
    const [front, back] = [tokens.get(text)?.[mode], tokens.get(ground)?.[mode]]
    assert(front && back, `${text} on ${ground}`)
    const ratio = contrast(front, back)
    assert(ratio >= 4.5, `${text} ${front} on ${ground} ${back}: ${ratio.toFixed(2)}`)
  }
}

test('text can be read on each ground, light and dark', () => {
  const texts = [...tokens.keys()].filter((name) => TEXT.test(name))
  assert(texts.length > 12)
  for (const text of texts) for (const ground of GROUNDS) check(text, ground)
})

test('so can what stands on colours', () => {
  check('on-accent', 'accent')
  check('on-accent', 'accent-strong')
  check('amber', 'amber-wash')
})
