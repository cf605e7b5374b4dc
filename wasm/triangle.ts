// AssemblyScript: the triangle T of a product of Householder reflections, I − Vᵀ T V.
//
// Compiled by scripts/build-wasm.mjs into src/decompose/triangle-wasm.generated.ts; not part of the TypeScript projects.
// The host owns the memory and passes byte addresses; nothing is allocated here.
import { at, get, rowProducts, set } from './reflections'

/**
 * T of b reflections: T[:i, i] = −tau_i T[:i, :i] (V[:i] v_i), T[i, i] = tau_i.
 *
 * @param products `[b, b]`: V Vᵀ. @param tau b numbers. @param column scratch, b numbers. @param t `[b, b]`, receives T.
 */
export function formTriangle(b: i32, products: usize, tau: usize, column: usize, t: usize): void {
  const stride = (<usize>b) << 3
  memory.fill(t, 0, <usize>b * stride)
  for (let i = 0; i < b; i++) {
    // Rows of T are zero before their diagonal: whole rows, so that four of them go together.
    rowProducts(column, -get(tau, i), i, t, stride, products + <usize>i * stride, i)
    for (let row = 0; row < i; row++) set(t + <usize>row * stride, i, get(column, row))
    store<f64>(at(t + <usize>i * stride, i), get(tau, i))
  }
}
