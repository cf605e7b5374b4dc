import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { VERSION } from './index.ts'

test('the version in the code is the one in package.json', () => {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  expect(VERSION).toBe((JSON.parse(text) as { version: string }).version)
})
