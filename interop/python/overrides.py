"""Our TensorQuantOverrides in onnxruntime.quantization: it has to write the integers and scales that we wrote."""

import json
import os
import sys
import tempfile

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.tensor_quant_overrides import TensorQuantOverridesHelper

DTYPES = {'QInt8': np.int8, 'QUInt8': np.uint8, 'QInt16': np.int16, 'QUInt16': np.uint16}


class Feeds(CalibrationDataReader):
    """Random inputs; every range that they lead to is overridden."""

    def __init__(self, model):
        value = model.graph.input[0]
        shape = [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim]
        random = np.random.default_rng(0)
        self.feeds = [{value.name: random.standard_normal(shape).astype(np.float32)}]

    def get_next(self):
        return self.feeds.pop() if self.feeds else None


def in_python(options):
    made = dict(options)
    if 'quant_type' in options:
        made['quant_type'] = QuantType.from_string(options['quant_type'])
    if 'scale' in options:
        made['scale'] = np.array(options['scale'], dtype=np.float32)
        made['zero_point'] = np.array(options['zero_point'], dtype=DTYPES[options['quant_type']])
    return made


def constants(model):
    return {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}


def check(case, folder, problems):
    model = onnx.load(case['float'])
    with open(case['overrides'], encoding='utf-8') as file:
        overrides = {name: [in_python(each) for each in entries] for name, entries in json.load(file).items()}
    names = {each.name: each for each in model.graph.initializer}
    values = {name for node in model.graph.node for name in node.output} | {model.graph.input[0].name}
    valid, why = TensorQuantOverridesHelper(overrides).is_valid(names, values, QuantType.QUInt8)
    if not valid:
        problems.append(f"{case['name']}: {why}")
        return 0
    path = os.path.join(folder, 'theirs.onnx')
    quantize_static(
        case['float'],
        path,
        Feeds(model),
        quant_format=QuantFormat.QDQ,
        nodes_to_quantize=case['nodes'],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        extra_options={'TensorQuantOverrides': overrides, 'ForceQuantizeNoInputCheck': True},
    )
    ours, theirs = constants(onnx.load(case['quantized'])), constants(onnx.load(path))
    equal = 0
    for name, value in ours.items():
        if not name.endswith(('_quantized', '_scale', '_zero_point')) or 'bias' in name:
            continue
        other = theirs.get(name)
        if other is None:
            problems.append(f"{case['name']}: '{name}' is not among theirs")
        elif other.shape != value.shape or other.dtype != value.dtype or (other != value).any():
            problems.append(f"{case['name']}: '{name}' differs: {value.ravel()[:3]}, theirs {other.ravel()[:3]}")
        else:
            equal += 1
    return equal


def main():
    with open(sys.argv[1], encoding='utf-8') as file:
        cases = json.load(file)
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        equal = sum(check(case, folder, problems) for case in cases)
    print(json.dumps({'problems': problems, 'found': f'{len(cases)} models, {equal} constants equal to the last bit'}))


main()
