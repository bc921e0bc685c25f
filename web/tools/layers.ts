/**
 * Fails when an import in `src` points up: each folder is a layer, and may import only
 * itself and the folders before it.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve, sep } from 'node:path'

const LAYERS = ['protocol', 'state', 'connection', 'apps', 'desktop']
const SRC = resolve(import.meta.dirname, '../src')
const IMPORT = /(?:from|import)\s*\(?\s*['"](\.{1,2}\/[^'"]+)['"]/g

const layerOf = (path: string): number => LAYERS.indexOf(relative(SRC, path).split(sep)[0] ?? '')

function faultsOf(file: string): string[] {
  const text = readFileSync(file, 'utf8')
  const targets = [...text.matchAll(IMPORT)].map((match) => resolve(dirname(file), match[1] ?? ''))
  return targets
    .filter((target) => layerOf(target) > layerOf(file))
    .map((target) => `${relative(SRC, file)} imports ${relative(SRC, target)}, which is above it`)
}

const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' })
  .filter((name) => /\.(ts|svelte)$/.test(name))
  .map((name) => join(SRC, name))
const faults = files.flatMap(faultsOf)
for (const fault of faults) console.error(fault)
if (faults.length > 0) process.exit(1)
