"""Tucker decompositions, tensor trains, robust PCA and SVDs of Whittle against TensorLy's on the same data.

Whittle's error, from its core and factors, must be at most TensorLy's + 1 % at the same ranks and iterations. Errors are
computed in float64, by NumPy.
"""

import json
import sys
import warnings

import numpy as np
import tensorly as tl
from tensorly.decomposition import (
    non_negative_tucker,
    non_negative_tucker_hals,
    partial_tucker,
    robust_pca,
    tensor_train,
    tensor_train_matrix,
    tucker,
)
from tensorly.tenalg.svd import randomized_svd, svd_flip, svd_interface, truncated_svd

warnings.simplefilter('ignore')
tl.set_backend('numpy')
SLACK = 1.01  # "at most theirs + 1 %"
ROUNDING = 2e-6  # of what is exact, in float32


def double(array):
    return np.asarray(array, dtype=np.float64)


def multiply(core, factors, modes):
    full = double(core)
    for mode, factor in zip(modes, factors):
        full = np.moveaxis(np.tensordot(double(factor), full, axes=(1, mode)), 0, mode)
    return full


def train(factors):
    full = double(factors[0])
    for factor in factors[1:]:
        full = np.tensordot(full, double(factor), axes=(full.ndim - 1, 0))
    return full.reshape(full.shape[1:-1])


def train_matrix(factors):
    full = train([factor.reshape(factor.shape[0], -1, factor.shape[-1]) for factor in map(double, factors)])
    shape = [extent for factor in factors for extent in factor.shape[1:3]]
    count = len(factors)
    return full.reshape(shape).transpose([2 * k for k in range(count)] + [2 * k + 1 for k in range(count)])


def tucker_errors(x, parts, case):
    (core, factors), _ = partial_tucker(
        x, case['ranks'], n_iter_max=case['iterations'], init=case['init'], tol=0, random_state=0
    )
    modes = range(x.ndim)
    theirs = multiply(core, factors, modes)
    if case['init'] == 'svd':
        other = tucker(x, case['ranks'], n_iter_max=case['iterations'], tol=0, svd='randomized_svd', random_state=0)
        other = multiply(other[0], other[1], modes)
        theirs = min(theirs, other, key=lambda full: np.linalg.norm(full - x))
    return multiply(parts[0], parts[1:], modes), theirs


def partial_errors(x, parts, case):
    (core, factors), _ = partial_tucker(x, case['ranks'], modes=case['modes'], n_iter_max=case['iterations'], tol=0)
    return multiply(parts[0], parts[1:], case['modes']), multiply(core, factors, case['modes'])


def non_negative_errors(x, parts, case):
    algorithm = non_negative_tucker_hals if case['method'] == 'hals' else non_negative_tucker
    core, factors = algorithm(x, case['ranks'], n_iter_max=case['iterations'], tol=0, random_state=0)
    assert min(part.min() for part in parts) >= 0
    return multiply(parts[0], parts[1:], range(x.ndim)), multiply(core, factors, range(x.ndim))


def train_errors(x, parts, case):
    return train(parts), train(tensor_train(x, list(case['ranks'])).factors)


def train_matrix_errors(x, parts, case):
    return train_matrix(parts), train_matrix(tensor_train_matrix(x, list(case['ranks'])).factors)


ALGORITHMS = {
    'tucker': tucker_errors,
    'partial_tucker': partial_errors,
    'non_negative_tucker': non_negative_errors,
    'tensor_train': train_errors,
    'tensor_train_matrix': train_matrix_errors,
}


def compare_robust_pca(x, parts, case):
    low, sparse, truth = map(double, parts)
    theirs, _ = robust_pca(x, reg_E=case['lambda'], reg_J=1.0, n_iter_max=1000, tol=1e-8, verbose=0)
    ours, other = (np.linalg.norm(one - truth) / np.linalg.norm(truth) for one in (low, theirs))
    if not ours <= other * SLACK + 1e-5:
        yield f'low-rank part {ours:.2e} from the truth, theirs {other:.2e}'
    if np.linalg.norm(x - low - sparse) > 1e-5 * np.linalg.norm(x):
        yield 'the parts do not sum to the tensor'


def compare_svd(x, parts, case):
    u, s, vt = map(double, parts)
    rank = case['rank']
    size = np.linalg.norm(x)
    error = np.linalg.norm(x - (u * s) @ vt) / size
    method = randomized_svd if case['method'] == 'randomized_svd' else truncated_svd
    u2, s2, vt2 = method(x, n_eigenvecs=rank, **({'random_state': 0} if method is randomized_svd else {}))
    other = np.linalg.norm(x - (u2 * s2) @ vt2) / size
    if not error <= other * SLACK + 1e-14:
        yield f'error {error:.6f}, theirs {other:.6f}'
    if case['method'] == 'economy':
        # The sign convention of svd_flip, and every singular value to rounding.
        u2, _ = svd_flip(u2, vt2)
        if np.abs(s - s2).max() > 1e-14 * s2[0]:
            yield f'singular values differ by {np.abs(s - s2).max() / s2[0]:.1e} of the largest'
        if np.linalg.norm(u - u2) > 1e-8:
            yield f'vectors and signs differ by {np.linalg.norm(u - u2):.1e}'
        u3, _, _ = svd_interface(x, n_eigenvecs=5)
        if np.linalg.norm(u[:, :5] - u3) > 1e-8:
            yield 'leading vectors are not those of svd_interface'


with open(sys.argv[1], encoding='utf-8') as file:
    cases = json.load(file)
problems = []
worst = (-1.0, '')
for case in cases:
    x = np.load(case['tensor'])
    parts = [np.load(path) for path in case['parts']]
    if case['kind'] in ALGORITHMS:
        ours, theirs = ALGORITHMS[case['kind']](x, parts, case)
        ours, theirs = (np.linalg.norm(full - double(x)) / np.linalg.norm(double(x)) for full in (ours, theirs))
        worst = max(worst, (ours / max(theirs, 1e-3) - 1, case['name']))
        if not ours <= theirs * SLACK + ROUNDING:
            problems.append(f"{case['name']}: error {ours:.6f}, theirs {theirs:.6f}")
    else:
        compare = compare_robust_pca if case['kind'] == 'robust_pca' else compare_svd
        problems += [f"{case['name']}: {problem}" for problem in compare(double(x), parts, case)]
found = f'{len(cases)} decompositions, at most {100 * worst[0]:.2f} % above theirs ({worst[1]})'
print(json.dumps({'problems': problems, 'found': found}))
