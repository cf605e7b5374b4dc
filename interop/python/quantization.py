"""Our quantized models beside those that onnxruntime.quantization makes of the same float models and ranges.

Constants of the same name (integers of weights and biases, scales, zero points) must be equal to the last bit, and
nodes of the same name must have the same operator. What only one of the two has must be what is meant to differ.
"""
import json
import re
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.calibrate import TensorData, TensorsData, CalibrationMethod
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

TYPES = {
    'uint8': QuantType.QUInt8,
    'int8': QuantType.QInt8,
    'uint16': QuantType.QUInt16,
    'int16': QuantType.QInt16,
    'int4': QuantType.QInt4,
}


def peer(case):
    model = onnx.load(case['float'])
    # Values that ours leaves in float: any range will do, they are not compared.
    ranges = {name: (np.float32(low), np.float32(high)) for name, (low, high) in case['ranges'].items()}
    for node in model.graph.node:
        for name in node.output:
            ranges.setdefault(name, (np.float32(-1), np.float32(1)))
    quantizer = QDQQuantizer(
        model,
        case['perChannel'],
        False,
        TYPES[case['weights']],
        TYPES[case['activations']],
        TensorsData(
            CalibrationMethod.MinMax,
            {name: TensorData(lowest=low, highest=high) for name, (low, high) in ranges.items()},
        ).data,
        case['nodes'],
        [],
        sorted({node.op_type for node in model.graph.node}),
        {'ActivationSymmetric': case['symmetric']},
    )
    quantizer.quantize_model()
    return quantizer.model.model


def constants(model):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def expected_difference(name, ours):
    """Names that only the peer has: zero points of biases, and activations that ours keeps in float."""
    if name.endswith('_quantized_zero_point'):
        return True
    base = re.sub(r'_(scale|zero_point|quantized)$', '', name)
    return f'{base}_scale' not in ours and f'{base}_quantized' not in ours


def run(model, feeds):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model, options, providers=['CPUExecutionProvider'])
    return session.run(None, feeds)


def check(case, problems):
    theirs = peer(case)
    ours = onnx.load(case['quantized'])
    a, b = constants(ours), constants(theirs)
    equal = 0
    for name, value in b.items():
        if name not in a:
            if not expected_difference(name, a):
                problems.append(f"{case['name']}: '{name}' is missing.")
            continue
        other = a[name]
        same = value.dtype == other.dtype and value.size == other.size and (value.ravel() == other.ravel()).all()
        if same:
            equal += 1
        else:
            worst = int((value.ravel() != other.ravel()).sum()) if value.size == other.size else 'all'
            problems.append(
                f"{case['name']}: '{name}' differs in {worst} of {value.size}: {other.dtype} {other.ravel()[:3]}, theirs {value.dtype} {value.ravel()[:3]}."
            )
    nodes = {node.name: node.op_type for node in theirs.graph.node}
    for node in ours.graph.node:
        if nodes.get(node.name, node.op_type) != node.op_type:
            problems.append(f"{case['name']}: node '{node.name}' is {node.op_type}, theirs {nodes[node.name]}.")
    named = sum(node.name in nodes for node in ours.graph.node)
    for name in a:
        if name not in b:
            problems.append(f"{case['name']}: '{name}' is not among theirs.")
    return equal, named, len(ours.graph.node)


def main():
    problems = []
    with open(sys.argv[1], encoding='utf8') as file:
        cases = json.load(file)
    total = named = nodes = 0
    for case in cases:
        equal, same, count = check(case, problems)
        total += equal
        named += same
        nodes += count
    found = f'{len(cases)} models, {total} constants equal to the last bit, {named} of {nodes} nodes of the same name'
    print(json.dumps({'problems': problems, 'found': found}))


main()
