// The globals that Node and browsers both have and that core code may use. `console` stays out on purpose:
// the library never prints. Keep this list short; every line is a promise about both platforms.

interface TextEncoder {
  encode(text?: string): Uint8Array<ArrayBuffer>
}
declare const TextEncoder: { new (): TextEncoder }

interface TextDecoder {
  decode(bytes?: ArrayBufferView | ArrayBuffer): string
}
declare const TextDecoder: { new (label?: string, options?: { fatal?: boolean; ignoreBOM?: boolean }): TextDecoder }

interface AbortSignal {
  readonly aborted: boolean
  readonly reason: unknown
  throwIfAborted(): void
}

interface Performance {
  now(): number
}
declare const performance: Performance

declare function setTimeout(callback: () => void, milliseconds?: number): unknown
declare function atob(base64: string): string
