"""Formats of weights against ONNX Runtime's own quantizers: the same integers and codes, the same scales.

4-bit blocks and codes: the kernels behind onnxruntime.quantization.matmul_nbits_quantizer and matmul_bnb4_quantizer.
8 bits: onnxruntime.quantization.quantize_dynamic. 16-bit floats: onnxruntime.transformers.float16.
"""
import json
import os
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper
from onnxruntime.capi._pybind_state import quantize_matmul_4bits, quantize_matmul_bnb4
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers.float16 import convert_float_to_float16

problems = []
found = []


def constants(model):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def run(path_or_bytes, job):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(path_or_bytes, options, providers=["CPUExecutionProvider"])
    ids = np.array(job["ids"], np.int64).reshape(job["shape"])
    return session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0].astype(np.float64)


def same(what, ours, theirs):
    if ours.size != theirs.size or not np.array_equal(ours.ravel(), theirs.ravel()):
        different = int((ours.ravel() != theirs.ravel()).sum()) if ours.size == theirs.size else -1
        problems.append(f"{what}: {different} of {theirs.size} elements differ")


def linear_weights(model):
    values = constants(model)
    return {
        node.input[1]: values[node.input[1]]
        for node in model.graph.node
        if node.op_type == "MatMul" and node.input[1] in values
    }


def four_bit(case, ours, weights):
    block, symmetric = case.get("block", 32), case.get("symmetric", True)
    for name, weight in weights.items():
        rows, cols = weight.shape
        blocks = (rows + block - 1) // block
        padded = np.pad(weight, ((0, blocks * block - rows), (0, 0)))
        packed = np.zeros((cols, blocks, block // 2), np.uint8)
        scales = np.zeros((cols, blocks), np.float32)
        zeros = np.zeros((cols, (blocks + 1) // 2), np.uint8)
        quantize_matmul_4bits(packed, padded, scales, zeros, block, cols, rows, symmetric)
        same(f"{case['name']} {name} integers", ours[f"{name}_Q4"], packed)
        same(f"{case['name']} {name} scales", ours[f"{name}_scales"], scales)
        if not symmetric:
            same(f"{case['name']} {name} zero points", ours[f"{name}_zero_points"], zeros)
    return len(weights)


def codes(case, ours, weights):
    block = case.get("block", 64)
    for name, weight in weights.items():
        rows, cols = weight.shape
        packed = np.zeros((rows * cols + 1) // 2, np.uint8)
        absmax = np.zeros((rows * cols + block - 1) // block, np.float32)
        kind = 1 if case["codes"] == "nf4" else 0
        quantize_matmul_bnb4(packed, weight.T.copy(), absmax, block, kind, cols, rows)
        same(f"{case['name']} {name} codes", ours[f"{name}_Bnb4"], packed)
        same(f"{case['name']} {name} scales", ours[f"{name}_absmax"], absmax)
    return len(weights)


def dynamic(case, ours, job):
    kind = QuantType.QUInt8 if case["format"] == "uint8" else QuantType.QInt8
    operators = ["MatMul"] if case.get("embeddings") is False else None
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "peer.onnx")
        quantize_dynamic(
            job["original"], path, weight_type=kind, per_channel=case["perChannel"], op_types_to_quantize=operators
        )
        peer = onnx.load(path)
        theirs = constants(peer)
        ours_counts = {}
        for model, counts in ((peer, {}), (onnx.load(case["model"]), ours_counts)):
            for node in model.graph.node:
                counts[node.op_type] = counts.get(node.op_type, 0) + 1
            if model is peer:
                peer_counts = counts
        for operator in ("MatMulInteger", "DynamicQuantizeLinear", "Gather"):
            if peer_counts.get(operator, 0) != ours_counts.get(operator, 0):
                problems.append(
                    f"{case['name']}: {ours_counts.get(operator, 0)} {operator}, peer {peer_counts.get(operator, 0)}"
                )
        shared = [name for name in theirs if name.endswith(("_quantized", "_scale", "_zero_point"))]
        for name in shared:
            if name not in ours:
                problems.append(f"{case['name']}: {name} is missing")
            else:
                same(f"{case['name']} {name}", ours[name], theirs[name])
        difference = distance(run(path, job), run(case["model"], job))
        if difference > 1e-5:
            problems.append(f"{case['name']}: outputs differ from the peer's by {difference:.1e}")
        return len(shared)


def half(case, ours, job):
    peer = convert_float_to_float16(onnx.load(job["original"]), keep_io_types=True)
    theirs = {name: value for name, value in constants(peer).items() if value.dtype == np.float16}
    for name, value in theirs.items():
        if name not in ours:
            problems.append(f"{case['name']}: {name} is missing")
        else:
            same(f"{case['name']} {name}", ours[name].view(np.uint16), value.view(np.uint16))
    difference = distance(run(peer.SerializeToString(), job), run(case["model"], job))
    if difference > 2e-3:
        problems.append(f"{case['name']}: outputs differ from the peer's by {difference:.1e}")
    return len(theirs)


def distance(a, b):
    return float(np.linalg.norm(a - b) / np.linalg.norm(a))


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        job = json.load(file)
    original = onnx.load(job["original"])
    weights = linear_weights(original)
    reference = run(job["original"], job)
    for case in job["cases"]:
        model = onnx.load(case["model"])
        onnx.checker.check_model(model)
        ours = constants(model)
        if case["format"] == "q4":
            count = four_bit(case, ours, weights)
        elif case["format"] == "bnb4":
            count = codes(case, ours, weights)
        elif case["format"] == "fp16":
            count = half(case, ours, job)
        else:
            count = dynamic(case, ours, job)
        found.append(f"{case['name']} {count} equal, output error {distance(reference, run(case['model'], job)):.4f}")
    print(json.dumps({"found": "; ".join(found), "problems": problems}))


main()
