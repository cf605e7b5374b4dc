import { existsSync } from 'node:fs'

/** A Chromium: CHROMIUM, or where systems put it; `undefined` without one. */
export function findBrowser() {
  return [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/google-chrome'].find((path) => path && existsSync(path))
}
