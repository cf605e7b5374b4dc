import { describe, expect, it } from 'vitest'
import { evaluator } from '../../test/support/run-model.ts'
import { randomTensor } from '../../test/support/tensors.ts'
import { observeShapes } from '../engine/index.ts'
import { resnet20 } from '../networks/index.ts'
import { createTrainingStep } from './training-step.ts'

describe('createTrainingStep', () => {
  it('learns a batch by heart', async () => {
    const model = resnet20({ width: 0.25 })
    const batch = 16
    const types = await observeShapes(evaluator, model, { inputShapes: { input: [batch, 3, 32, 32] } })
    const training = await createTrainingStep(evaluator, model, {
      types,
      loss: [{ kind: 'cross-entropy' }],
      optimizer: { kind: 'sgd', momentum: 0.9 },
    })
    const x = randomTensor([batch, 3, 32, 32], 1)
    const labels = Int32Array.from({ length: batch }, (_, i) => i % 10)
    const losses: number[] = []
    for (let i = 0; i < 10; i++) losses.push((await training.step([x], labels, 0.05)).loss)
    console.log(losses)
    expect(losses.at(-1)!).toBeLessThan(losses[0]! / 2)
    await training.release()
  })
})
