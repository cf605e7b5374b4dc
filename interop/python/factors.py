"""Reads original and decomposed one-layer ONNX models with the `onnx` package and compares reconstruction errors.

Whittle's error, from its factors, against that of TensorLy's Tucker-2 and of NumPy's exact truncated SVD at the same
ranks. Everything in float64.
"""

import json
import sys

import numpy as np
import onnx
from onnx import numpy_helper

SLACK = 1.01  # "at most theirs + 1 %"
ROUNDING = 2e-6  # what float32 factors can do at full rank


def weights_of(path):
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    tensors = {one.name: numpy_helper.to_array(one).astype(np.float64) for one in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type in ('Conv', 'Gemm')]
    stages = []
    for node in nodes:
        weight = tensors[node.input[1]]
        transposed = any(a.name == 'transB' and a.i for a in node.attribute)
        stages.append(weight.T if node.op_type == 'Gemm' and not transposed else weight)
    return stages


def compose(stages):
    """The weight that a chain of stages stands for; kernels meet along axes where the other is 1 wide."""
    first, *rest = stages
    product = first
    for stage in rest:
        if product.ndim == 2:
            product = stage @ product
        else:
            # Full convolution of the kernels; one of them is 1 wide on every axis, so it is an outer product.
            product = np.einsum('orab,rihw->oiahbw', stage, product).reshape(
                stage.shape[0],
                product.shape[1],
                stage.shape[2] * product.shape[2],
                stage.shape[3] * product.shape[3],
            )
    return product


def truncated(matrix, rank):
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    return (u[:, :rank] * s[:rank]) @ v[:rank]


def best(weight, case):
    """The error their way: TensorLy's partial_tucker, or the optimum by NumPy's SVD."""
    ranks = case['ranks']
    if case['form'] == 'tucker':
        import tensorly as tl
        from tensorly.decomposition import partial_tucker

        tl.set_backend('numpy')
        parts, _ = partial_tucker(
            tl.tensor(weight), rank=[ranks['output'], ranks['input']], modes=[0, 1], init='svd', svd='truncated_svd'
        )
        return np.linalg.norm(weight - tl.tenalg.multi_mode_dot(parts[0], parts[1], modes=[0, 1]))
    outputs, inputs = weight.shape[:2]
    if case['variant'] == 'h-w':
        matrix = weight.transpose(1, 2, 0, 3).reshape(inputs * weight.shape[2], -1)
    elif case['variant'] == 'w-h':
        matrix = weight.transpose(1, 3, 0, 2).reshape(inputs * weight.shape[3], -1)
    elif case['variant'] == 'kernel-last':
        matrix = np.moveaxis(weight, 1, 0).reshape(inputs, -1)
    else:
        matrix = weight.reshape(outputs, -1)
    return np.linalg.norm(matrix - truncated(matrix, ranks['rank']))


with open(sys.argv[1], encoding='utf-8') as file:
    cases = json.load(file)
problems = []
worst = 0.0
for case in cases:
    (weight,) = weights_of(case['original'])
    norm = np.linalg.norm(weight)
    ours = np.linalg.norm(weight - compose(weights_of(case['decomposed']))) / norm
    theirs = best(weight, case) / norm
    worst = max(worst, (ours - theirs) / max(theirs, 1e-3))
    if not ours <= theirs * SLACK + ROUNDING:
        problems.append(f"{case['name']}: error {ours:.6f}, theirs {theirs:.6f}")
    if abs(ours - case['reported']) > 1e-3 * ours + ROUNDING:
        problems.append(f"{case['name']}: error {ours:.6f}, but the record says {case['reported']:.6f}")
print(json.dumps({'problems': problems, 'found': f'{len(cases)} layers, at most {100 * worst:.2f} % above theirs'}))
