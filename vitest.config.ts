import { defineConfig } from 'vitest/config'

// .ci/run asks for a JSON report, from which it takes the counts.
const counts = process.env.WHITTLE_TEST_COUNTS

export default defineConfig({
  test: {
    include: ['src/**/*.test.ts', 'test/**/*.test.ts'],
    exclude: ['**/node_modules/**', '**/*.slow.test.ts'],
    testTimeout: 60_000,
    hookTimeout: 120_000,
    pool: 'forks',
    maxWorkers: 2,
    reporters: counts ? ['default', ['json', { outputFile: counts }]] : ['default'],
  },
})
