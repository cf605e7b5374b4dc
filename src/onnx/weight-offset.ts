/**
 * Where the first large weight of a model file lies, from the file's first bytes: read to a place in memory where that
 * weight is aligned, a model of one large weight needs no second copy of it.
 */

/** Weights of fewer bytes are not worth looking for. */
const LARGE = 65536
/** ModelProto.graph, GraphProto.initializer, TensorProto.raw_data. */
const PATH = [7, 5, 9] as const

/**
 * The offset of the bytes of the first large weight.
 *
 * @param head the first bytes of the file; anything, also no model at all.
 * @returns `undefined` when there is none that begins within these bytes.
 */
export function maybeWeightOffset(head: Uint8Array): number | undefined {
  /** Ends of the messages that are open; the last one is where the cursor is in. */
  const ends: number[] = []
  let at = 0
  /** Infinite where it is cut off or too long: then nothing that follows is within the bytes. */
  const varint = (): number => {
    let value = 0
    for (let scale = 1; at < head.length && scale < 2 ** 56; scale *= 128) {
      const byte = head[at++]!
      value += (byte & 127) * scale
      if (byte < 128) return value
    }
    return Number.POSITIVE_INFINITY
  }
  while (at < head.length) {
    while (ends.length > 0 && at >= ends[ends.length - 1]!) ends.pop()
    const tag = varint()
    const field = Math.floor(tag / 8)
    switch (tag % 8) {
      case 0:
        varint()
        break
      case 1:
        at += 8
        break
      case 5:
        at += 4
        break
      case 2: {
        const length = varint()
        if (field === PATH[ends.length]) {
          if (ends.length < PATH.length - 1) ends.push(at + length)
          else if (length >= LARGE) return Number.isFinite(length) ? at : undefined
          else at += length
        } else at += length
        break
      }
      default:
        return undefined
    }
  }
  return undefined
}
