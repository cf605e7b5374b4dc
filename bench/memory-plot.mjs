// Peak memory against the number of samples, both axes logarithmic, as an SVG that needs nothing else.

const SIZE = { width: 690, height: 380, left: 70, right: 240, top: 24, bottom: 48 }
const COLORS = { ours: '#1a7f64', peer: '#b4502d' }

/** @param results of the calibration section: `{ method, samples, ours: { peakMB }, peer: { peakMB } }` */
export function memoryPlot(results) {
  const { width, height, left, right, top, bottom } = SIZE
  const samples = [...new Set(results.map((row) => row.samples))]
  const peaks = results.flatMap(({ ours, peer }) => [ours.peakMB, peer.peakMB])
  const [low, high] = [2 ** Math.floor(Math.log2(Math.min(...peaks))), 2 ** Math.ceil(Math.log2(Math.max(...peaks)))]
  const share = (value, from, to) => Math.log(value / from) / Math.log(to / from)
  const x = (value) => left + share(value, samples[0], samples.at(-1)) * (width - left - right)
  const y = (value) => height - bottom - share(value, low, high) * (height - top - bottom)
  const text = (at, up, anchor, words) =>
    `<text x="${at.toFixed(1)}" y="${up.toFixed(1)}" text-anchor="${anchor}">${words}</text>`
  const parts = []
  for (let tick = low; tick <= high; tick *= 2) {
    parts.push(
      `<line x1="${left}" x2="${width - right}" y1="${y(tick).toFixed(1)}" y2="${y(tick).toFixed(1)}" stroke="#ddd"/>`,
    )
    parts.push(text(left - 8, y(tick) + 4, 'end', tick >= 1024 ? `${tick / 1024} GB` : `${tick} MB`))
  }
  for (const count of samples) parts.push(text(x(count), height - bottom + 20, 'middle', String(count)))
  parts.push(text((left + width - right) / 2, height - 8, 'middle', 'samples'))
  for (const [side, name] of [
    ['ours', 'whittle quantize'],
    ['peer', 'onnxruntime.quantization'],
  ])
    for (const method of [...new Set(results.map((row) => row.method))]) {
      const rows = results.filter((row) => row.method === method)
      const points = rows.map((row) => `${x(row.samples).toFixed(1)},${y(row[side].peakMB).toFixed(1)}`)
      const dash = method === 'minmax' ? ' stroke-dasharray="5 4"' : ''
      parts.push(
        `<polyline points="${points.join(' ')}" fill="none" stroke="${COLORS[side]}" stroke-width="2"${dash}/>`,
      )
      const last = rows.at(-1)
      const shift = side === 'ours' ? (method === 'minmax' ? 12 : -4) : method === 'minmax' ? -8 : 4
      parts.push(
        `<g fill="${COLORS[side]}">${text(x(last.samples) + 8, y(last[side].peakMB) + shift, 'start', `${name}, ${method}`)}</g>`,
      )
    }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="11">
<title>Peak memory of quantizing ResNet-20 against the number of samples</title>
<rect width="${width}" height="${height}" fill="#fff"/>
${parts.join('\n')}
</svg>
`
}
