/**
 * Decodes pictures with sharp (libvips), which is loaded when the first picture is read. Resizing is done by `data/`, the
 * same in Node and in browsers.
 */
import type { ImageDecoder } from '../data/index.ts'

/**
 * Decodes JPEG, PNG, WebP, GIF, TIFF and AVIF.
 *
 * Pixels are 8-bit sRGB as the file has them: EXIF orientation is applied, alpha is dropped, gray becomes three equal
 * channels, colour profiles are ignored (as Pillow does), of an animation the first frame is taken. Throws sharp's
 * error for damaged and cut-off files and for pictures of more than 268 million pixels.
 */
export const imageDecoder: ImageDecoder = {
  async decode(bytes) {
    const { default: sharp } = await import('sharp')
    const { data, info } = await sharp(bytes, { autoOrient: true, ignoreIcc: true, failOn: 'truncated' })
      .toColourspace('srgb')
      .removeAlpha()
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true })
    return { width: info.width, height: info.height, data: toRgb(data, info.channels) }
  },
}

/** Repeats a single channel three times. */
function toRgb(data: Uint8Array, channels: number): Uint8Array {
  if (channels === 3) return data
  const pixels = Math.floor(data.length / channels)
  const out = new Uint8Array(3 * pixels)
  for (let p = 0; p < pixels; p++) out.fill(data[p * channels]!, 3 * p, 3 * p + 3)
  return out
}
