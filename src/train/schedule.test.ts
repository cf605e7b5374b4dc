import { describe, expect, it } from 'vitest'
import { checkSchedule, learningRate, parseSchedule } from './schedule.ts'

describe('learningRate', () => {
  it('stays, drops and follows a cosine as PyTorch has it', () => {
    expect(learningRate({ kind: 'constant' }, 0.1, 77, 100)).toBe(0.1)
    const step = { kind: 'step', every: 0.5, gamma: 0.1 } as const
    expect([0, 49, 50, 99].map((at) => learningRate(step, 1, at, 100))).toEqual([1, 1, 0.1, 0.1])
    const milestones = { kind: 'step', every: [0.5, 0.75], gamma: 0.5 } as const
    expect([49, 50, 75].map((at) => learningRate(milestones, 1, at, 100))).toEqual([1, 0.5, 0.25])
    const thirds = { kind: 'step' } as const
    expect([29, 30, 59, 60].map((at) => learningRate(thirds, 1, at, 90))).toEqual([1, 0.1, 0.1, 0.1 ** 2])
    // CosineAnnealingLR(T_max=100, eta_min=0.01): η_min + (η − η_min)(1 + cos(π t / T)) / 2
    for (const at of [0, 25, 99])
      expect(learningRate({ kind: 'cosine', final: 0.1 }, 0.1, at, 100)).toBeCloseTo(
        0.01 + ((0.1 - 0.01) * (1 + Math.cos((Math.PI * at) / 100))) / 2,
        14,
      )
  })

  it('has one cycle as OneCycleLR', () => {
    const schedule = { kind: 'one-cycle' } as const
    // OneCycleLR(max_lr=0.5, total_steps=100): up to step 29, down to step 99.
    expect(learningRate(schedule, 0.5, 0, 100)).toBeCloseTo(0.5 / 25, 14)
    expect(learningRate(schedule, 0.5, 29, 100)).toBeCloseTo(0.5, 14)
    expect(learningRate(schedule, 0.5, 99, 100)).toBeCloseTo(0.5 / 25 / 1e4, 14)
    const at = (0.5 - 0.5 / 25) / 2
    expect(learningRate(schedule, 0.5, 14.5, 100)).toBeCloseTo(0.5 / 25 + at, 14)
  })

  it('warms up linearly, on top of any kind', () => {
    const schedule = { kind: 'constant', warmup: 0.04 } as const
    const rates = [0, 1, 3, 4, 5].map((at) => learningRate(schedule, 1, at, 100))
    expect(rates).toEqual([0.2, 0.4, 0.8, 1, 1])
  })

  it('stays finite in runs of one and two steps', () => {
    for (const kind of ['constant', 'step', 'cosine', 'one-cycle'] as const)
      for (const steps of [1, 2, 3])
        for (let at = 0; at < steps; at++) {
          const rate = learningRate({ kind, warmup: 0.5 }, 1, at, steps)
          expect(rate >= 0 && rate <= 1, `${kind} ${at}/${steps}: ${rate}`).toBe(true)
        }
  })
})

describe('parseSchedule', () => {
  it('reads a kind and its settings', () => {
    expect(parseSchedule('cosine')).toEqual({ kind: 'cosine' })
    expect(parseSchedule('step:every=0.5+0.75,gamma=0.2')).toEqual({ kind: 'step', every: [0.5, 0.75], gamma: 0.2 })
  })

  it('says what it does not understand', () => {
    expect(() => parseSchedule('linear')).toThrow(
      "Schedule: kind must be one of constant, step, cosine, one-cycle; got 'linear'.",
    )
    expect(() => parseSchedule('step:evry=1')).toThrow(
      "Schedule 'step:evry=1': 'evry=1' is not understood; settings of step are warmup=NUMBER, every=NUMBER, gamma=NUMBER.",
    )
    expect(() => checkSchedule({ kind: 'cosine', warmup: 2 })).toThrow(
      "Schedule 'cosine': warmup must be 0 … 1; got 2.",
    )
  })
})
