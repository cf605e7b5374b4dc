"""TensorLy's answers for the tests of src/tensor: operations, factor formats, ranks.

    python tensor_algebra.py ../../test/fixtures/tensorly/tensor-algebra.json --write
    python tensor_algebra.py ../../test/fixtures/tensorly/tensor-algebra.json

The first writes the file, the second says whether it still is what TensorLy computes. Inputs are small integers, so
that sums are exact in float64 whatever their order; only norms and normalised factors are rounded.
"""

import json
import sys
import warnings

import numpy as np
import tensorly as tl
from tensorly import cp_tensor, tenalg, tt_matrix, tt_tensor, tucker_tensor
from tensorly.tenalg.core_tenalg.mttkrp import unfolding_dot_khatri_rao_memory

warnings.simplefilter('ignore')
tl.set_backend('numpy')

SHAPES = [(5,), (4, 3), (3, 4, 2), (2, 1, 3), (1, 1, 1), (2, 3, 1, 4), (3, 2, 2, 1, 2)]
RANK_SHAPES = [(3, 4, 2), (64, 64, 3, 3), (256, 128, 3, 3), (512, 512, 3, 3), (10, 20, 30), (8, 8, 8, 8, 8)]
FRACTIONS = [0.05, 0.1, 0.25, 0.5, 0.9, 1.5]
random = np.random.default_rng(7)


def numbers(*shape):
    return random.integers(-4, 5, shape).astype(np.float64)


def out(array):
    array = np.asarray(array)
    # No negative zeros: JSON keeps them, but they are equal to zero for everyone.
    return {'shape': list(array.shape), 'data': (array + 0.0).ravel().tolist()}


def operations(shape):
    x = numbers(*shape)
    modes = range(len(shape))
    matrices = [numbers(2 + mode % 2, extent) for mode, extent in enumerate(shape)]
    vectors = [numbers(extent) for extent in shape]
    factors = [numbers(extent, 3) for extent in shape]
    weights = numbers(3)
    case = {
        'x': out(x),
        'matrices': [out(one) for one in matrices],
        'vectors': [out(one) for one in vectors],
        'factors': [out(one) for one in factors],
        'weights': out(weights),
        'vec': out(tl.tensor_to_vec(x)),
        'unfold': [out(tl.unfold(x, mode)) for mode in modes],
        'modeDot': [out(tenalg.mode_dot(x, matrices[mode], mode)) for mode in modes],
        'modeDotTranspose': [out(tenalg.mode_dot(x, matrices[mode].T.copy(), mode, transpose=True)) for mode in modes],
        'modeDotVector': [out(tenalg.mode_dot(x, vectors[mode], mode)) for mode in modes],
        'multiModeDot': out(tenalg.multi_mode_dot(x, matrices)),
        'multiModeDotSkip': [out(tenalg.multi_mode_dot(x, matrices, skip=mode)) for mode in modes],
        'multiModeDotVectors': [out(tenalg.multi_mode_dot(x, vectors, skip=mode)) for mode in modes],
        'multiModeDotTranspose': out(tenalg.multi_mode_dot(x, factors, transpose=True)),
        # The other variant forgets the weights of matrices.
        'mttkrp': [out(unfolding_dot_khatri_rao_memory(x, (weights, factors), mode)) for mode in modes if len(shape) > 1],
        'mttkrpPlain': [out(tenalg.unfolding_dot_khatri_rao(x, (None, factors), mode)) for mode in modes if len(shape) > 1],
        'norms': [float(tl.norm(x, order)) for order in (1, 2, 'inf')],
        'inner': float(tenalg.inner(x, numbers_like := numbers(*shape))),
        'innerWith': out(numbers_like),
        'outer': out(tenalg.outer([x, vectors[0]])),
    }
    if len(shape) >= 2:
        case['partialUnfold'] = [out(tl.partial_unfold(x, mode, skip_begin=1)) for mode in range(len(shape) - 1)]
        case['partialVec'] = out(tl.partial_tensor_to_vec(x, skip_begin=1))
        case['khatriRao'] = out(tenalg.khatri_rao(factors, weights=weights))
        case['khatriRaoSkip'] = [out(tenalg.khatri_rao(factors, skip_matrix=mode)) for mode in modes]
        case['kronecker'] = out(tenalg.kronecker(matrices))
        case['kroneckerReverse'] = out(tenalg.kronecker(matrices, reverse=True))
        case['matricize'] = out(tl.base.matricize(x, [len(shape) - 1, 0]))
    if len(shape) >= 3:
        case['partialUnfoldEnd'] = out(tl.partial_unfold(x, 0, skip_begin=1, skip_end=1))
    return case


def contractions():
    a, b = numbers(2, 3, 4, 5), numbers(4, 5, 3, 2)
    # Modes, batched modes; the latter in ascending order, the only one that works there.
    pairs = [
        ([[2, 1], [0, 2]], [[], []]),
        ([[2], [0]], [[], []]),
        ([[0, 1, 2, 3], [3, 2, 0, 1]], [[], []]),
        ([[2], [0]], [[1], [2]]),
        ([[0], [3]], [[1, 3], [2, 1]]),
        ([[], []], [[3], [1]]),
    ]
    return {
        'a': out(a),
        'b': out(b),
        'cases': [
            {'modes': modes, 'batched': batched, 'result': out(tenalg.tensordot(a, b, modes, batched))}
            for modes, batched in pairs
        ],
        'innerTwo': out(tenalg.inner(a, b, n_modes=2)),
    }


def cp(shape, rank=3):
    factors, weights = [numbers(extent, rank) for extent in shape], numbers(rank)
    factors[0][:, 1] = 0
    modes = range(len(shape))
    normal = cp_tensor.cp_normalize((weights, factors))
    return {
        'weights': out(weights),
        'factors': [out(one) for one in factors],
        'tensor': out(cp_tensor.cp_to_tensor((weights, factors))),
        'plain': out(cp_tensor.cp_to_tensor((np.ones(rank), factors))),
        'unfolded': [out(cp_tensor.cp_to_unfolded((weights, factors), mode)) for mode in modes],
        'vec': out(cp_tensor.cp_to_vec((weights, factors))),
        'norm': float(cp_tensor.cp_norm((weights, factors))),
        'normalized': {'weights': out(normal.weights), 'factors': [out(one) for one in normal.factors]},
    }


def tucker(shape):
    ranks = [1 + mode % 3 for mode in range(len(shape))]
    core, factors = numbers(*ranks), [numbers(extent, r) for extent, r in zip(shape, ranks)]
    tensor = tucker_tensor.tucker_to_tensor((core, factors))
    normal = tucker_tensor.tucker_normalize((core, factors))
    return {
        'core': out(core),
        'factors': [out(one) for one in factors],
        'tensor': out(tensor),
        'unfolded': [out(tucker_tensor.tucker_to_unfolded((core, factors), mode)) for mode in range(len(shape))],
        'vec': out(tucker_tensor.tucker_to_vec((core, factors))),
        'norm': float(tl.norm(tensor)),
        'skipped': out(tucker_tensor.tucker_to_tensor((core, factors), skip_factor=1)),
        'projected': out(tucker_tensor.tucker_to_tensor((tensor, factors), transpose_factors=True)),
        'normalized': {'core': out(normal.core), 'factors': [out(one) for one in normal.factors]},
    }


def train(shape):
    rank = [1, *(1 + k % 3 for k in range(len(shape) - 1)), 1]
    factors = [numbers(rank[k], extent, rank[k + 1]) for k, extent in enumerate(shape)]
    tensor = tt_tensor.tt_to_tensor(factors)
    return {
        'factors': [out(one) for one in factors],
        'tensor': out(tensor),
        'unfolded': [out(tt_tensor.tt_to_unfolded(factors, mode)) for mode in range(len(shape))],
        'vec': out(tt_tensor.tt_to_vec(factors)),
        'norm': float(tl.norm(tensor)),
    }


def train_matrix(left, right):
    rank = [1, *(2 + k % 2 for k in range(len(left) - 1)), 1]
    factors = [numbers(rank[k], m, n, rank[k + 1]) for k, (m, n) in enumerate(zip(left, right))]
    tensor = tt_matrix.tt_matrix_to_tensor(factors)
    return {
        'factors': [out(one) for one in factors],
        'tensor': out(tensor),
        'matrix': out(tt_matrix.tt_matrix_to_matrix(factors)),
        'unfolded': [out(tt_matrix.tt_matrix_to_unfolded(factors, mode)) for mode in range(2 * len(left))],
        'vec': out(tt_matrix.tt_matrix_to_vec(factors)),
        'norm': float(tl.norm(tensor)),
    }


def integers(values):
    return [int(value) for value in values]


def ranks():
    rows = []
    for shape in RANK_SHAPES:
        for rounding in ('round', 'floor', 'ceil'):
            for rule in ['same', *FRACTIONS]:
                row = {'shape': list(shape), 'rule': rule, 'rounding': rounding}
                row['cp'] = int(cp_tensor.validate_cp_rank(shape, rule, rounding))
                row['cpParameters'] = int(cp_tensor._cp_n_param(shape, row['cp'], weights=True))
                row['tucker'] = integers(tucker_tensor.validate_tucker_rank(shape, rule, rounding))
                row['tuckerParameters'] = int(tucker_tensor._tucker_n_param(shape, row['tucker']))
                row['tt'] = integers(tt_tensor.validate_tt_rank(shape, rule, rounding=rounding))
                row['ttParameters'] = int(tt_tensor._tt_n_param(shape, row['tt']))
                row['ttConstant'] = integers(tt_tensor.validate_tt_rank(shape, rule, True, rounding))
                row['ttExact'] = integers(
                    tt_tensor.validate_tt_rank(shape, rule, rounding=rounding, allow_overparametrization=False)
                )
                if len(shape) == 4 and rounding == 'round':
                    # As a matrix of tensorized shape twice as long: (m, n) of each core.
                    tensorized = (*shape, *shape)
                    row['ttMatrix'] = integers(tt_matrix.validate_tt_matrix_rank(tensorized, rule))
                    row['ttMatrixParameters'] = int(tt_matrix._tt_matrix_n_param(tensorized, row['ttMatrix']))
                rows.append(row)
    return rows


def expected():
    return {
        'tensorly': tl.__version__,
        'numpy': np.__version__,
        'operations': [operations(shape) for shape in SHAPES],
        'contractions': contractions(),
        'cp': [cp(shape) for shape in SHAPES if len(shape) > 1],
        'tucker': [tucker(shape) for shape in SHAPES if len(shape) > 1],
        'train': [train(shape) for shape in SHAPES],
        'trainMatrix': [train_matrix((2, 3), (4, 2)), train_matrix((2, 1, 3), (3, 2, 1)), train_matrix((3,), (2,))],
        'ranks': ranks(),
    }


def differences(path, one, other):
    """Where two JSON values differ by more than rounding."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return [found for key in one for found in differences(f'{path}.{key}', one[key], other[key])]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [found for k, pair in enumerate(zip(one, other)) for found in differences(f'{path}[{k}]', *pair)]
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return [] if abs(one - other) <= 1e-14 * max(abs(one), abs(other)) else [f'{path}: {one} and {other}']
    return [] if one == other else [f'{path}: {str(one)[:40]} and {str(other)[:40]}']


if __name__ == '__main__':
    path = sys.argv[1]
    values = expected()
    if sys.argv[2:] == ['--write']:
        with open(path, 'w', encoding='utf-8') as file:
            # A line for each case: short enough to read, and changes show where they are.
            parts = []
            for name, value in values.items():
                if isinstance(value, list):
                    text = '[\n' + ',\n'.join(json.dumps(one, separators=(',', ':')) for one in value) + '\n]'
                else:
                    text = json.dumps(value, separators=(',', ':'))
                parts.append(f'{json.dumps(name)}: {text}')
            file.write('{\n' + ',\n'.join(parts) + '\n}\n')
    with open(path, encoding='utf-8') as file:
        kept = json.load(file)
    versions = ('tensorly', 'numpy')
    problems = differences('', *({k: v for k, v in one.items() if k not in versions} for one in (kept, values)))
    count = sum(len(value) for value in values.values() if isinstance(value, list))
    print(json.dumps({'problems': problems, 'found': f"{count} cases as in the fixture, TensorLy {values['tensorly']}"}))
