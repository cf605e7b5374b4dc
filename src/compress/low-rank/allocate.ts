/**
 * Allocation under a budget: one option per layer so that the summed error is least and the summed cost fits.
 *
 * The multiple-choice knapsack problem. First the Lagrangian relaxation: every layer takes the option with the least
 * error + λ·cost, λ by bisection; this finds the convex hull's best solution exactly. Then dynamic programming over
 * costs rounded up to 1/4096 of the budget, which also finds solutions off the hull; it never exceeds the budget,
 * because costs are rounded up. The better of the two is returned.
 * Source: Kellerer, Pferschy, Pisinger, "Knapsack problems", 2004, chapter 11.
 */

/** One way to treat a layer. */
export interface Option {
  readonly cost: number
  /** Squared relative error. */
  readonly error: number
}

/** Options that no other of the same layer beats in both cost and error, by rising cost. */
export function paretoFront<T extends Option>(options: readonly T[]): T[] {
  const sorted = [...options].sort((a, b) => a.cost - b.cost || a.error - b.error)
  const front: T[] = []
  for (const option of sorted)
    if (front.length === 0 || option.error < front[front.length - 1]!.error) front.push(option)
  return front
}

/**
 * Chooses one option for each layer.
 *
 * @param layers options per layer; each list non-empty.
 * @param budget what the costs may sum to.
 * @returns one option per layer, or `undefined` when even the cheapest exceed the budget.
 */
export function allocate<T extends Option>(layers: readonly (readonly T[])[], budget: number): T[] | undefined {
  const fronts = layers.map((options) => paretoFront(options))
  const cheapest = fronts.map((front) => front[0]!)
  if (total(cheapest) > budget) return undefined
  const relaxed = lagrangian(fronts, budget) ?? cheapest
  const exact = knapsack(fronts, budget)
  const best = exact && sumErrors(exact) < sumErrors(relaxed) ? exact : relaxed
  return spendRest(fronts, best, budget)
}

const total = (options: readonly Option[]): number => options.reduce((sum, option) => sum + option.cost, 0)
const sumErrors = (options: readonly Option[]): number => options.reduce((sum, option) => sum + option.error, 0)

function lagrangian<T extends Option>(fronts: readonly T[][], budget: number): T[] | undefined {
  const at = (lambda: number): T[] =>
    fronts.map((front) => {
      let best = front[0]!
      for (const option of front)
        if (option.error + lambda * option.cost < best.error + lambda * best.cost) best = option
      return best
    })
  const free = at(0)
  if (total(free) <= budget) return free
  let low = 0
  let high = 1 / budget
  while (total(at(high)) > budget && high < 1e30) high *= 4
  let feasible = at(high)
  if (total(feasible) > budget) return undefined
  for (let i = 0; i < 80; i++) {
    const middle = (low + high) / 2
    const choice = at(middle)
    if (total(choice) > budget) low = middle
    else {
      high = middle
      feasible = choice
    }
  }
  return feasible
}

const BUCKETS = 4096

function knapsack<T extends Option>(fronts: readonly T[][], budget: number): T[] | undefined {
  const unit = budget / BUCKETS
  let errors = new Float64Array(BUCKETS + 1).fill(Number.POSITIVE_INFINITY)
  errors[0] = 0
  const choices: Int32Array[] = []
  for (const front of fronts) {
    const next = new Float64Array(BUCKETS + 1).fill(Number.POSITIVE_INFINITY)
    const choice = new Int32Array(BUCKETS + 1).fill(-1)
    front.forEach((option, index) => {
      const size = Math.ceil(option.cost / unit)
      for (let bucket = size; bucket <= BUCKETS; bucket++) {
        const error = errors[bucket - size]! + option.error
        if (error < next[bucket]!) {
          next[bucket] = error
          choice[bucket] = index
        }
      }
    })
    choices.push(choice)
    errors = next
  }
  let bucket = 0
  for (let i = 1; i <= BUCKETS; i++) if (errors[i]! < errors[bucket]!) bucket = i
  if (errors[bucket] === Number.POSITIVE_INFINITY) return undefined
  const chosen: T[] = new Array(fronts.length)
  for (let layer = fronts.length - 1; layer >= 0; layer--) {
    const option = fronts[layer]![choices[layer]![bucket]!]!
    chosen[layer] = option
    bucket -= Math.ceil(option.cost / unit)
  }
  return chosen
}

/** Uses what rounding left of the budget: upgrades the layer with the best gain per cost while one fits. */
function spendRest<T extends Option>(fronts: readonly T[][], chosen: readonly T[], budget: number): T[] {
  const out = [...chosen]
  let left = budget - total(out)
  for (;;) {
    let best: { layer: number; option: T; rate: number } | undefined
    fronts.forEach((front, layer) => {
      const now = out[layer]!
      for (const option of front) {
        const extra = option.cost - now.cost
        if (extra <= 0 || extra > left) continue
        const rate = (now.error - option.error) / extra
        if (rate > 0 && (!best || rate > best.rate)) best = { layer, option, rate }
      }
    })
    if (!best) return out
    left -= best.option.cost - out[best.layer]!.cost
    out[best.layer] = best.option
  }
}
