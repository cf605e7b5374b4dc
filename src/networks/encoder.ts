/**
 * Transformer encoder: Vaswani et al., "Attention Is All You Need", 2017, in the form of BERT: Devlin, Chang, Lee,
 * Toutanova, "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding", 2018.
 */
import { createRandom, fail } from '../core/index.ts'
import { type AttributeInput, createNode, float, GraphBuilder, type Model } from '../graph/index.ts'
import { sizeOf, Tensor } from '../tensor/index.ts'
import { initialize } from './initialize.ts'
import { checkCount } from './network-builder.ts'

/** Options of {@link transformerEncoder}; defaults are those of MiniLM-L6 (22.6 million parameters). */
export interface TransformerEncoderOptions {
  /** Default 30522. */
  readonly vocabulary?: number | undefined
  /** Longest sequence; default 512. */
  readonly positions?: number | undefined
  /** Numbers per token; default 384. */
  readonly width?: number | undefined
  /** Default 6. */
  readonly layers?: number | undefined
  /** Default 12; divides `width`. */
  readonly heads?: number | undefined
  /** Numbers inside the feed-forward layers; default four times `width`. */
  readonly inner?: number | undefined
  /** Default 0. */
  readonly seed?: number | undefined
}

/** A score that Softmax makes zero. */
const MASKED = -10000

/** Nodes by path; their output has the same name. */
class EncoderBuilder {
  readonly builder = new GraphBuilder('transformer-encoder')

  node(
    opType: string,
    path: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, AttributeInput | undefined>> = {},
  ): string {
    this.builder.graph.nodes.push(createNode(opType, inputs, [path], attributes, path))
    return path
  }

  /** A weight of zeros or ones that takes memory when it is first read. */
  weight(name: string, shape: readonly number[], value = 0): string {
    const read = (): Uint8Array => new Uint8Array(new Float32Array(sizeOf(shape)).fill(value).buffer)
    return this.builder.constant(Tensor.lazy('float32', shape, read), name)
  }

  scalar(name: string, value: number): string {
    return this.builder.constant(Tensor.of(Float32Array.of(value), []), name)
  }

  integers(name: string, values: readonly number[] | number): string {
    return this.builder.constant(Tensor.int64(values), name)
  }

  /** `[…, from]` → `[…, to]`, a MatMul and an Add as exporters write them. */
  linear(path: string, x: string, from: number, to: number): string {
    const product = this.node('MatMul', `${path}/MatMul`, [x, this.weight(`${path}.weight`, [from, to])])
    return this.node('Add', `${path}/Add`, [product, this.weight(`${path}.bias`, [to])])
  }

  layerNorm(path: string, x: string, width: number): string {
    const inputs = [x, this.weight(`${path}.weight`, [width], 1), this.weight(`${path}.bias`, [width])]
    return this.node('LayerNormalization', path, inputs, { axis: -1, epsilon: float(1e-12) })
  }
}

/**
 * A transformer encoder for tokens `input_ids [batch, sequence]` (int64) with `attention_mask [batch, sequence]`; its
 * output is `last_hidden_state [batch, sequence, width]`. Weights are random.
 *
 * @throws WhittleError `INVALID_ARGUMENT` for counts below 1 or heads that do not divide the width.
 */
export function transformerEncoder(options: TransformerEncoderOptions = {}): Model {
  const { vocabulary = 30522, positions = 512, width = 384, layers = 6, heads = 12, seed = 0 } = options
  const { inner = 4 * width } = options
  for (const [name, value] of Object.entries({ vocabulary, positions, width, layers, heads, inner }))
    checkCount(name, value)
  if (width % heads !== 0) fail('INVALID_ARGUMENT', `Option heads: must divide width ${width}; got ${heads}.`)
  const e = new EncoderBuilder()
  const { builder } = e
  const ids = builder.input('input_ids', 'int64', ['batch', 'sequence'])
  const mask = builder.input('attention_mask', 'int64', ['batch', 'sequence'])
  const shape = {
    splitHeads: e.integers('split_heads', [0, 0, heads, width / heads]),
    join: e.integers('join_heads', [0, 0, width]),
  }
  const words = e.node('Gather', 'embeddings/words', [e.weight('embeddings.word.weight', [vocabulary, width]), ids])
  const length = e.node('Gather', 'embeddings/length', [
    e.node('Shape', 'embeddings/shape', [ids]),
    e.integers('one', 1),
  ])
  const range = e.node('Range', 'embeddings/range', [e.integers('zero', 0), length, 'one'])
  const places = e.node('Gather', 'embeddings/positions', [
    e.weight('embeddings.position.weight', [positions, width]),
    range,
  ])
  let x = e.layerNorm('embeddings/LayerNorm', e.node('Add', 'embeddings/Add', [words, places]), width)
  const bias = maskBias(e, mask)
  for (let layer = 0; layer < layers; layer++) {
    const path = `layer.${layer}`
    const attended = attention(e, `${path}/attention`, x, bias, { width, heads, ...shape })
    x = e.layerNorm(`${path}/attention/LayerNorm`, e.node('Add', `${path}/attention/residual`, [attended, x]), width)
    const hidden = gelu(e, `${path}/gelu`, e.linear(`${path}/intermediate`, x, width, inner))
    const output = e.linear(`${path}/output`, hidden, inner, width)
    x = e.layerNorm(`${path}/LayerNorm`, e.node('Add', `${path}/residual`, [output, x]), width)
  }
  builder.graph.nodes.at(-1)!.outputs = ['last_hidden_state']
  builder.output('last_hidden_state', 'float32', ['batch', 'sequence', width])
  return withTables(initialize(builder.model(), { seed, scheme: 'xavier' }), seed)
}

/** 0 where the mask is 1, else a score that Softmax makes zero, `[batch, 1, 1, sequence]`. */
function maskBias(e: EncoderBuilder, mask: string): string {
  const numbers = e.node('Cast', 'mask/Cast', [mask], { to: 1 })
  const axes = e.integers('mask_axes', [1, 2])
  const missing = e.node('Sub', 'mask/Sub', [
    e.scalar('mask_one', 1),
    e.node('Unsqueeze', 'mask/Unsqueeze', [numbers, axes]),
  ])
  return e.node('Mul', 'mask/Mul', [missing, e.scalar('mask_score', MASKED)])
}

interface AttentionShape {
  readonly width: number
  readonly heads: number
  readonly splitHeads: string
  readonly join: string
}

function attention(e: EncoderBuilder, path: string, x: string, bias: string, shape: AttentionShape): string {
  const { width, heads, splitHeads, join } = shape
  const part = (name: string, perm: readonly number[]): string => {
    const all = e.linear(`${path}/${name}`, x, width, width)
    return e.node(
      'Transpose',
      `${path}/${name}/heads`,
      [e.node('Reshape', `${path}/${name}/split`, [all, splitHeads])],
      { perm },
    )
  }
  const query = part('query', [0, 2, 1, 3])
  const key = part('key', [0, 2, 3, 1])
  const value = part('value', [0, 2, 1, 3])
  const scores = e.node('MatMul', `${path}/scores`, [query, key])
  const scaled = e.node('Div', `${path}/scaled`, [scores, e.scalar(`${path}/root`, Math.sqrt(width / heads))])
  const weights = e.node('Softmax', `${path}/Softmax`, [e.node('Add', `${path}/masked`, [scaled, bias])], { axis: -1 })
  const mixed = e.node('Transpose', `${path}/mixed/heads`, [e.node('MatMul', `${path}/mixed`, [weights, value])], {
    perm: [0, 2, 1, 3],
  })
  return e.linear(`${path}/output`, e.node('Reshape', `${path}/joined`, [mixed, join]), width, width)
}

/** x · Φ(x), by the error function. */
function gelu(e: EncoderBuilder, path: string, x: string): string {
  const scaled = e.node('Div', `${path}/Div`, [x, e.scalar(`${path}/root`, Math.SQRT2)])
  const shifted = e.node('Add', `${path}/Add`, [e.node('Erf', `${path}/Erf`, [scaled]), e.scalar(`${path}/one`, 1)])
  return e.node('Mul', path, [e.node('Mul', `${path}/Mul`, [x, shifted]), e.scalar(`${path}/half`, 0.5)])
}

/** Fills the embedding tables, normally distributed with deviation 0.02, as BERT's are. */
function withTables(model: Model, seed: number): Model {
  for (const [position, name] of ['embeddings.word.weight', 'embeddings.position.weight'].entries()) {
    const { shape } = model.graph.initializers.get(name)!
    const random = createRandom(seed + position + 1)
    const values = Float32Array.from({ length: sizeOf(shape) }, () => 0.02 * random.normal())
    model.graph.initializers.set(name, Tensor.of(values, shape))
  }
  return model
}
