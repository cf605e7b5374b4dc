import { defineConfig } from 'vitest/config'

// What takes minutes or gigabytes: run before a release with `npm run test:slow`.
export default defineConfig({
  test: {
    include: ['src/**/*.slow.test.ts', 'test/**/*.slow.test.ts'],
    testTimeout: 600_000,
    hookTimeout: 120_000,
    pool: 'forks',
    maxWorkers: 1,
  },
})
