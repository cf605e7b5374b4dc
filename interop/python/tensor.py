"""TensorLy's answers to the calls that tensor.mjs lists: a NumPy file for each array of each result."""

import json
import sys
import warnings

import numpy as np
import tensorly as tl
from tensorly import cp_tensor, tenalg, tt_matrix, tt_tensor, tucker_tensor
from tensorly.tenalg.core_tenalg.mttkrp import unfolding_dot_khatri_rao_memory

warnings.simplefilter('ignore')
tl.set_backend('numpy')


def normalized(weights, factors):
    result = cp_tensor.cp_normalize((weights, factors))
    return [result.weights, *result.factors]


CALLS = {
    'tensor_to_vec': tl.tensor_to_vec,
    'vec_to_tensor': tl.vec_to_tensor,
    'partial_tensor_to_vec': lambda x, skip: tl.partial_tensor_to_vec(x, skip_begin=skip),
    'transpose': tl.transpose,
    'unfold': tl.unfold,
    'fold': tl.fold,
    'moveaxis': tl.moveaxis,
    'partial_unfold': lambda x, mode, skip: tl.partial_unfold(x, mode, skip_begin=skip),
    'partial_fold': lambda x, mode, shape, skip: tl.partial_fold(x, mode, shape, skip_begin=skip),
    'mode_dot': tenalg.mode_dot,
    'multi_mode_dot': lambda x, matrices, skip, transpose: tenalg.multi_mode_dot(
        x, matrices, skip=skip, transpose=transpose
    ),
    # The other variant forgets the weights of matrices.
    'mttkrp': lambda x, weights, factors, mode: unfolding_dot_khatri_rao_memory(x, (weights, factors), mode),
    'khatri_rao': lambda factors, weights, skip: tenalg.khatri_rao(factors, weights=weights, skip_matrix=skip),
    'khatri_rao_masked': lambda factors, mask, skip: tenalg.khatri_rao(factors, mask=mask, skip_matrix=skip),
    'kronecker': lambda matrices, reverse: tenalg.kronecker(matrices, reverse=reverse),
    'outer': tenalg.outer,
    'batched_outer': tenalg.batched_outer,
    'inner': tenalg.inner,
    'tensordot': tenalg.tensordot,
    'tensordot_batched': tenalg.tensordot,
    'norm': tl.norm,
    'cp_to_tensor': lambda weights, factors: cp_tensor.cp_to_tensor((weights, factors)),
    'cp_to_unfolded': lambda weights, factors, mode: cp_tensor.cp_to_unfolded((weights, factors), mode),
    'cp_to_vec': lambda weights, factors: cp_tensor.cp_to_vec((weights, factors)),
    'cp_norm': lambda weights, factors: cp_tensor.cp_norm((weights, factors)),
    'cp_normalize': normalized,
    'tucker_to_tensor': lambda core, factors, skip, transpose: tucker_tensor.tucker_to_tensor(
        (core, factors), skip_factor=skip, transpose_factors=transpose
    ),
    'tucker_to_unfolded': lambda core, factors, mode: tucker_tensor.tucker_to_unfolded((core, factors), mode),
    'tucker_to_vec': lambda core, factors: tucker_tensor.tucker_to_vec((core, factors)),
    'tt_to_tensor': tt_tensor.tt_to_tensor,
    'tt_to_unfolded': tt_tensor.tt_to_unfolded,
    'tt_to_vec': tt_tensor.tt_to_vec,
    'tt_matrix_to_tensor': tt_matrix.tt_matrix_to_tensor,
    'tt_matrix_to_matrix': tt_matrix.tt_matrix_to_matrix,
    'tt_matrix_to_vec': tt_matrix.tt_matrix_to_vec,
    'validate_cp_rank': cp_tensor.validate_cp_rank,
    'validate_tucker_rank': tucker_tensor.validate_tucker_rank,
    'validate_tt_rank': tt_tensor.validate_tt_rank,
}


def decoded(arg):
    if isinstance(arg, dict):
        return np.load(arg['file'])
    if isinstance(arg, list):
        return [decoded(one) for one in arg]
    return arg


with open(sys.argv[1], encoding='utf-8') as file:
    cases = json.load(file)
problems = []
for case in cases:
    try:
        result = CALLS[case['fn']](*(decoded(arg) for arg in case['args']))
    except Exception as error:  # noqa: BLE001 - whatever it is, it belongs into the report
        problems.append(f"{case['fn']}: {type(error).__name__}: {error}")
        continue
    many = isinstance(result, (list, tuple))
    for at, one in enumerate(result if many else [result]):
        array = np.array(one, order='C')
        np.save(f"{case['out']}-{at}.npy", array)
print(json.dumps({'problems': problems, 'found': f'{len(cases)} calls'}))
