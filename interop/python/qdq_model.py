"""A quantized model as Python makes them, for Whittle to read: onnxruntime.quantization on a ResNet of ours.

usage: qdq_model.py JOB.json, with `model`, `images` and `labels` (.npy), `output` (path of the QDQ model) and `errors`
(path of a JSON: ONNX Runtime's own errors per activation, signal to noise in dB, and top-1 of both models).
"""

import json
import sys
import tempfile

import numpy as np
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization import qdq_loss_debug as debug
from onnxruntime.quantization.shape_inference import quant_pre_process

BATCH = 32

with open(sys.argv[1], encoding='utf-8') as file:
    job = json.load(file)
images = np.load(job['images'])
labels = np.load(job['labels'])


class Reader(CalibrationDataReader):
    def __init__(self):
        self.at = 0

    def get_next(self):
        if self.at >= len(images):
            return None
        self.at += BATCH
        return {'input': images[self.at - BATCH:self.at]}


def activations(path):
    with tempfile.TemporaryDirectory() as folder:
        debug.modify_model_output_intermediate_tensors(path, f'{folder}/model.onnx')
        return debug.collect_activations(f'{folder}/model.onnx', Reader())


def top1(path):
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    scores = session.run(None, {'input': images})[0]
    return float((scores.argmax(1) == labels).mean())


with tempfile.TemporaryDirectory() as folder:
    prepared = f'{folder}/prepared.onnx'
    quant_pre_process(job['model'], prepared)
    quantize_static(
        prepared,
        job['output'],
        Reader(),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
    )
    matched = debug.create_activation_matching(activations(job['output']), activations(prepared))
errors = {name: float(value['xmodel_err']) for name, value in debug.compute_activation_error(matched).items() if 'xmodel_err' in value}
with open(job['errors'], 'w', encoding='utf-8') as file:
    json.dump({'errors': errors, 'float': top1(job['model']), 'quantized': top1(job['output'])}, file)
print(json.dumps({'problems': [], 'found': f'{len(errors)} activations'}))
