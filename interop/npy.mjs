/** A float32 or float64 array as the bytes of a NumPy file (numpy.lib.format, version 1, C order). */
export function encodeNpy(data, shape) {
  const type = data instanceof Float64Array ? '<f8' : '<f4'
  const extents = shape.length === 1 ? `${shape[0]},` : shape.join(', ')
  const text = `{'descr': '${type}', 'fortran_order': False, 'shape': (${extents}), }`
  // Magic, version, length and header fill a multiple of 64 bytes.
  const header = `${text.padEnd(Math.ceil((text.length + 11) / 64) * 64 - 11)}\n`
  const start = [0x93, ...Buffer.from('NUMPY'), 1, 0, header.length & 255, header.length >> 8]
  return Buffer.concat([
    Buffer.from(start),
    Buffer.from(header),
    Buffer.from(data.buffer, data.byteOffset, data.byteLength),
  ])
}
