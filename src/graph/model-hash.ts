/**
 * A fingerprint of what a model computes: to see that a plan, a record or a cached result belongs to it.
 *
 * MurmurHash3 (x86, 128 bits; Austin Appleby, public domain) over a stream of 32-bit words in which every list and
 * string is preceded by its length; large tensors go in as a hash of their own. It finds accidents, not forgeries.
 */
import type { Tensor } from '../tensor/index.ts'
import type { Attribute, Graph, Model, Node, ValueInfo } from './model.ts'

const C1 = 0x239b961b
const C2 = 0xab0e9789
const C3 = 0x38b34ae5
const C4 = 0xa1e38b93

function rotate(x: number, count: number): number {
  return (x << count) | (x >>> (32 - count))
}

function finish(x: number): number {
  let h = Math.imul(x ^ (x >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return h ^ (h >>> 16)
}

/** The streaming hash: small values are gathered, byte arrays are read where they lie. */
class Hasher {
  readonly #words = new Uint32Array(1024)
  readonly #float = new Float64Array(1)
  readonly #floatWords = new Uint32Array(this.#float.buffer)
  #count = 0
  #h1 = 0
  #h2 = 0
  #h3 = 0
  #h4 = 0
  #blocks = 0

  /** Mixes bytes in, 16 at a time; missing ones at the end count as 0. */
  #mix(view: DataView): void {
    const rest = view.byteLength % 16
    const whole = view.byteLength - rest
    let h1 = this.#h1
    let h2 = this.#h2
    let h3 = this.#h3
    let h4 = this.#h4
    for (let at = 0; at < whole; at += 16) {
      h1 ^= Math.imul(rotate(Math.imul(view.getInt32(at, true), C1), 15), C2)
      h1 = (Math.imul(rotate(h1, 19) + h2, 5) + 0x561ccd1b) | 0
      h2 ^= Math.imul(rotate(Math.imul(view.getInt32(at + 4, true), C2), 16), C3)
      h2 = (Math.imul(rotate(h2, 17) + h3, 5) + 0x0bcaa747) | 0
      h3 ^= Math.imul(rotate(Math.imul(view.getInt32(at + 8, true), C3), 17), C4)
      h3 = (Math.imul(rotate(h3, 15) + h4, 5) + 0x96cd1c35) | 0
      h4 ^= Math.imul(rotate(Math.imul(view.getInt32(at + 12, true), C4), 18), C1)
      h4 = (Math.imul(rotate(h4, 13) + h1, 5) + 0x32ac3b17) | 0
    }
    this.#h1 = h1
    this.#h2 = h2
    this.#h3 = h3
    this.#h4 = h4
    this.#blocks += whole / 16
    if (rest === 0) return
    const last = new Uint8Array(16)
    last.set(new Uint8Array(view.buffer, view.byteOffset + whole, rest))
    this.#mix(new DataView(last.buffer))
  }

  #flush(): void {
    this.#mix(new DataView(this.#words.buffer, 0, this.#count * 4))
    this.#count = 0
  }

  #word(value: number): void {
    if (this.#count === this.#words.length) this.#flush()
    this.#words[this.#count++] = value
  }

  number(value: number): void {
    this.#float[0] = value
    this.#word(this.#floatWords[0]!)
    this.#word(this.#floatWords[1]!)
  }

  text(value: string): void {
    this.#word(value.length)
    for (let i = 0; i < value.length; i += 2)
      this.#word(value.charCodeAt(i) + (i + 1 < value.length ? value.charCodeAt(i + 1) * 0x10000 : 0))
  }

  bytes(value: Uint8Array): void {
    this.number(value.length)
    this.#flush()
    this.#mix(new DataView(value.buffer, value.byteOffset, value.byteLength))
  }

  list<T>(items: readonly T[], each: (item: T) => void): void {
    this.number(items.length)
    for (const item of items) each(item)
  }

  /** The hash as 32 hexadecimal digits. */
  digest(): string {
    this.#flush()
    let [h1, h2, h3, h4] = [this.#h1, this.#h2, this.#h3, this.#h4].map((h) => h ^ this.#blocks) as [
      number,
      number,
      number,
      number,
    ]
    h1 = (h1 + h2 + h3 + h4) | 0
    const spread = [h1, h2 + h1, h3 + h1, h4 + h1].map(finish) as [number, number, number, number]
    h1 = (spread[0] + spread[1] + spread[2] + spread[3]) | 0
    return [h1, spread[1] + h1, spread[2] + h1, spread[3] + h1]
      .map((h) => (h >>> 0).toString(16).padStart(8, '0'))
      .join('')
  }
}

function addTensor(hasher: Hasher, tensor: Tensor): void {
  hasher.text(tensor.dtype)
  hasher.list(tensor.shape, (extent) => hasher.number(extent))
  if (tensor.dtype === 'string') hasher.list(tensor.strings, (value) => hasher.bytes(value))
  else if (tensor.byteLength < REMEMBERED_BYTES) hasher.bytes(tensor.bytes)
  else hasher.text(elementsHash(tensor))
}

/** Hashes of tensors from this size on are remembered. */
const REMEMBERED_BYTES = 65536
/** Tensors do not change, and clones of a model share them: a plan that is applied at once reads them once. */
const remembered = new WeakMap<Tensor, string>()

function elementsHash(tensor: Tensor): string {
  let hash = remembered.get(tensor)
  if (hash === undefined) {
    hash = largeHash(tensor.bytes)
    remembered.set(tensor, hash)
  }
  return hash
}

const PRIME1 = 0x9e3779b1 | 0
const PRIME2 = 0x85ebca77 | 0

/**
 * The hash of many bytes: the four independent sums of xxHash32 (Yann Collet), which a processor works out side by side
 * where MurmurHash's wait for each other, then {@link Hasher} over them, the length and what is left at the end.
 */
function largeHash(bytes: Uint8Array): string {
  const sums = Int32Array.of(PRIME1 + PRIME2, PRIME2, 0, -PRIME1)
  // A copy of each piece is quicker than reading word by word what is not in the cache, and its words are aligned.
  const piece = new Uint8Array(PIECE)
  const words = new DataView(piece.buffer)
  const whole = bytes.length - (bytes.length % 16)
  for (let at = 0; at < whole; at += PIECE) {
    const end = Math.min(whole, at + PIECE)
    piece.set(bytes.subarray(at, end))
    addPiece(sums, words, end - at)
  }
  const hasher = new Hasher()
  hasher.number(bytes.length)
  hasher.bytes(new Uint8Array(sums.buffer))
  hasher.bytes(bytes.subarray(whole))
  return hasher.digest()
}

/** Bytes that are mixed at a time: they fit the first-level cache. A multiple of 16. */
const PIECE = 32768

function addPiece(sums: Int32Array, words: DataView, length: number): void {
  let [a, b, c, d] = [sums[0]!, sums[1]!, sums[2]!, sums[3]!]
  for (let at = 0; at < length; at += 16) {
    a = Math.imul(rotate((a + Math.imul(words.getInt32(at, true), PRIME2)) | 0, 13), PRIME1)
    b = Math.imul(rotate((b + Math.imul(words.getInt32(at + 4, true), PRIME2)) | 0, 13), PRIME1)
    c = Math.imul(rotate((c + Math.imul(words.getInt32(at + 8, true), PRIME2)) | 0, 13), PRIME1)
    d = Math.imul(rotate((d + Math.imul(words.getInt32(at + 12, true), PRIME2)) | 0, 13), PRIME1)
  }
  sums.set([a, b, c, d])
}

function addValueInfo(hasher: Hasher, info: ValueInfo): void {
  hasher.text(info.name)
  const { type } = info
  hasher.text(type?.kind ?? '')
  if (!type) return
  if (type.kind !== 'tensor') {
    hasher.bytes(type.encoded)
    return
  }
  hasher.text(type.dtype ?? '')
  hasher.list(type.shape ?? ['?'], (dimension) => hasher.text(`${typeof dimension} ${dimension}`))
}

function addAttribute(hasher: Hasher, attribute: Attribute): void {
  hasher.text(attribute.kind)
  switch (attribute.kind) {
    case 'float':
      hasher.number(attribute.value)
      break
    case 'int':
      hasher.text(String(attribute.value))
      break
    case 'string':
      hasher.bytes(attribute.value)
      break
    case 'tensor':
      addTensor(hasher, attribute.value)
      break
    case 'graph':
      addGraph(hasher, attribute.value)
      break
    case 'floats':
      hasher.list(attribute.value, (value) => hasher.number(value))
      break
    case 'ints':
      hasher.list(attribute.value, (value) => hasher.text(String(value)))
      break
    case 'strings':
      hasher.list(attribute.value, (value) => hasher.bytes(value))
      break
    case 'graphs':
      hasher.list(attribute.value, (value) => addGraph(hasher, value))
      break
    case 'ref':
      hasher.text(attribute.value)
      break
    case 'other':
      hasher.bytes(attribute.encoded)
      break
  }
}

function addAttributes(hasher: Hasher, attributes: ReadonlyMap<string, Attribute>): void {
  // Order has no meaning here, and exporters differ in it.
  const names = [...attributes.keys()].sort()
  hasher.list(names, (name) => {
    hasher.text(name)
    addAttribute(hasher, attributes.get(name)!)
  })
}

function addNode(hasher: Hasher, node: Node): void {
  for (const text of [node.name, node.opType, node.domain, node.overload]) hasher.text(text)
  hasher.list(node.inputs, (name) => hasher.text(name))
  hasher.list(node.outputs, (name) => hasher.text(name))
  addAttributes(hasher, node.attributes)
}

function addGraph(hasher: Hasher, graph: Graph): void {
  hasher.list(graph.inputs, (info) => addValueInfo(hasher, info))
  hasher.list(graph.outputs, (info) => addValueInfo(hasher, info))
  hasher.list(graph.nodes, (node) => addNode(hasher, node))
  hasher.list([...graph.initializers], ([name, tensor]) => {
    hasher.text(name)
    addTensor(hasher, tensor)
  })
  hasher.list([...graph.sparseInitializers], ([name, encoded]) => {
    hasher.text(name)
    hasher.bytes(encoded)
  })
}

function addOpsets(hasher: Hasher, opsets: ReadonlyMap<string, number>): void {
  hasher.list([...opsets.keys()].sort(), (domain) => {
    hasher.text(domain)
    hasher.number(opsets.get(domain)!)
  })
}

/**
 * A hash of a model's structure and weights, 32 hexadecimal digits; equal for a model and what a file gives back.
 *
 * Counted: inputs, outputs, nodes with their names, attributes, weights (external ones are read), functions, operator
 * sets. Not counted: metadata, producer, notes on inner values, and everything in `preserved`.
 */
export function modelHash(model: Model): string {
  const hasher = new Hasher()
  addOpsets(hasher, model.opsets)
  addGraph(hasher, model.graph)
  hasher.list(model.functions, (definition) => {
    for (const text of [definition.domain, definition.name, definition.overload]) hasher.text(text)
    for (const names of [definition.inputs, definition.outputs, definition.attributes])
      hasher.list(names, (name) => hasher.text(name))
    addAttributes(hasher, definition.attributeDefaults)
    addOpsets(hasher, definition.opsets)
    hasher.list(definition.nodes, (node) => addNode(hasher, node))
  })
  return hasher.digest()
}
