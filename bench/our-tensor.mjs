// Operations or one decomposition of a tensor in Node; prints one line of JSON.
import { readFileSync } from 'node:fs'
import { decodeNpy } from 'whittle-nn/data'
import { createNodeRuntime } from 'whittle-nn/node'
import { Tensor } from 'whittle-nn/tensor'
import { usage } from './process.mjs'
import { timeFloors } from './tensor-floors.mjs'
import { operandsOf } from './tensor-operations.mjs'
import { measureTensorWork } from './tensor-work.mjs'

const job = JSON.parse(process.argv[2])
const { matrices } = await createNodeRuntime({ threads: job.threads })
const x = await decodeNpy(readFileSync(job.data), job.data)
let peak = {}
const report = await measureTensorWork(matrices, x, job, () => {
  peak = { peakMB: usage().peakMB }
})
const { peakMB } = usage()
const floors = job.kind === 'operations' ? { floors: await timeFloors(operandsOf(x, Tensor), job) } : {}
process.stdout.write(`${JSON.stringify({ ...usage(), peakMB, ...floors, ...report, ...peak })}\n`, () =>
  process.exit(0),
)
