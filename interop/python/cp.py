"""TensorLy's CP decompositions of the same tensors from the same starts, by reconstruction error; its CP helpers; and
scipy's non-negative least squares.

Where the algorithm is the same, sweep by sweep, errors must agree; elsewhere ours may be at most theirs + 1 %.
"""

import json
import sys
import warnings

import numpy as np
import tensorly as tl
from scipy.optimize import nnls
from tensorly import cp_tensor
from tensorly.decomposition import non_negative_parafac, non_negative_parafac_hals, parafac

warnings.simplefilter('ignore')
tl.set_backend('numpy')

SLACK = 1.01  # "at most theirs + 1 %"
ROUNDING = {'float32': 2e-6, 'float64': 1e-9}


def load(cp):
    factors = [np.load(path) for path in cp['factors']]
    return (np.load(cp['weights']) if cp.get('weights') else np.ones(factors[0].shape[1], factors[0].dtype)), factors


def wide(cp):
    weights, factors = cp
    return tl.cp_to_tensor((np.asarray(weights, np.float64), [np.asarray(f, np.float64) for f in factors]))


def error(case, cp):
    """Of the observed elements, in float64."""
    tensor = np.load(case['tensor']).astype(np.float64)
    mask = np.load(case['mask']) if case.get('mask') else np.ones_like(tensor)
    return np.linalg.norm((tensor - wide(cp)) * mask) / np.linalg.norm(tensor * mask)


def theirs(case, seed=0):
    tensor = np.load(case['tensor'])
    rank, kind = case['rank'], case['kind']
    options = {'n_iter_max': case['sweeps'], 'tol': 0, 'init': tl.cp_tensor.CPTensor(load(case['init']))}
    if kind == 'hals':
        return non_negative_parafac_hals(tensor, rank, **options)
    if kind == 'multiplicative':
        return non_negative_parafac(tensor, rank, **options)
    if kind == 'l2':
        options['l2_reg'] = 0.5
    if kind == 'line search':
        # Without a tolerance it keeps no errors to compare a jump with.
        options.update(linesearch=True, tol=1e-300)
    if kind == 'fixed':
        options['fixed_modes'] = [0]
    if kind in ('svd', 'mask'):
        options.update(init='svd', random_state=seed)
    if kind == 'mask':
        options['mask'] = np.load(case['mask'])
    return parafac(tensor, rank, **options)


# Where a mode is shorter than the rank, singular vectors are completed at random: the median of several.
SEEDS = 3


def decomposition(case, problems):
    mine = error(case, load(case['result']))
    seeds = SEEDS if case['kind'] == 'svd' else 1
    other = float(np.median([error(case, theirs(case, seed)) for seed in range(seeds)]))
    rounding = ROUNDING[case['type']]
    if abs(mine - case['relativeError']) > 1e-3 * mine + rounding:
        problems.append(f"{case['name']}: error {mine:.3e}, but the result says {case['relativeError']:.3e}")
    if not mine <= other * SLACK + rounding:
        problems.append(f"{case['name']}: error {mine:.6f}, TensorLy's {other:.6f}")
    # The same sweeps: the same error, but for rounding, which sweeps from a poor start magnify.
    if case['kind'] in ('als', 'l2', 'fixed', 'multiplicative') and abs(mine - other) > 1e-2 * other + rounding:
        problems.append(f"{case['name']}: error {mine:.6f}, TensorLy's {other:.6f}, by the same sweeps")
    return (mine - other) / max(other, 1e-3)


def helpers(given, problems):
    def copy():
        weights, factors = load(given['cp'])
        return cp_tensor.CPTensor((weights, list(factors)))

    def same(name, ours, cp):
        ours, cp = wide(load(ours)), wide(cp)
        if not np.allclose(ours, cp, rtol=0, atol=1e-13 * np.linalg.norm(cp)):
            problems.append(f'{name}: differs from TensorLy')

    for mode, ours in enumerate(given['flipped']):
        cp = cp_tensor.cp_flip_sign(copy(), mode=mode)
        same(f'cpFlipSign {mode}', ours, cp)
        for k, (mine, other) in enumerate(zip(load(ours)[1], cp[1])):
            if not np.array_equal(np.sign(mine), np.sign(other)):
                problems.append(f'cpFlipSign {mode}: other signs in factor {k} than TensorLy')
    same('cpModeDot', given['timesMatrix'], cp_tensor.cp_mode_dot(copy(), np.load(given['matrix']), 1))
    same('cpModeDot', given['timesVector'], cp_tensor.cp_mode_dot(copy(), np.load(given['vector']), 1))
    weights, factors = load(given['other'])
    _, permutations = cp_tensor.cp_permute_factors(copy(), [cp_tensor.CPTensor((weights, factors))])
    if [int(one) for one in permutations[0]] != given['permutation']:
        problems.append(f"cpPermuteFactors: {given['permutation']}, TensorLy's {permutations[0]}")


def main():
    with open(sys.argv[1], encoding='utf-8') as file:
        given = json.load(file)
    problems = []
    gaps = [decomposition(case, problems) for case in given['decompositions']]
    helpers(given['helpers'], problems)
    for case in given['nnls']:
        _, residual = nnls(np.load(case['a']), np.load(case['b']))
        if abs(case['residual'] - residual) > 1e-10 * np.linalg.norm(np.load(case['b'])):
            problems.append(f"nnls: residual {case['residual']}, scipy's {residual}")
    found = f'{len(gaps)} decompositions, at most {100 * max(gaps):.2f} % above theirs'
    print(json.dumps({'problems': problems, 'found': found}))


main()
