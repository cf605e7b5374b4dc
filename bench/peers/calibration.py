"""The whole of onnxruntime.quantization on CIFAR-10 pictures: preparation, calibration, a QDQ model.

usage: calibration.py MODEL CIFAR_BATCH.bin SAMPLES BATCH minmax|entropy OUT.onnx
Prints CPU seconds and the peak of resident memory in MB as JSON.
"""
import json
import os
import resource
import sys

import numpy as np
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

model, pictures, samples, batch, method, out = sys.argv[1:7]
samples, batch = int(samples), int(batch)
MEAN = np.array([0.485, 0.456, 0.406], np.float32)[:, None, None]
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)[:, None, None]


class Reader(CalibrationDataReader):
    def __init__(self, name):
        self.name = name
        self.at = 0
        self.bytes = np.memmap(pictures, np.uint8, 'r').reshape(-1, 3073)

    def get_next(self):
        if self.at >= samples:
            return None
        rows = np.array(self.bytes[self.at : min(self.at + batch, samples), 1:]).reshape(-1, 3, 32, 32)
        self.at += batch
        return {self.name: ((rows / np.float32(255) - MEAN) / DEVIATION).astype(np.float32)}


prepared = f'{out}.prepared.onnx'
sys.stdout = sys.stderr
name = onnxruntime.InferenceSession(model, providers=['CPUExecutionProvider']).get_inputs()[0].name
quant_pre_process(model, prepared)
quantize_static(
    prepared,
    out,
    Reader(name),
    quant_format=QuantFormat.QDQ,
    per_channel=True,
    calibrate_method={'minmax': CalibrationMethod.MinMax, 'entropy': CalibrationMethod.Entropy}[method],
)
os.remove(prepared)
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({'cpu': used.ru_utime + used.ru_stime, 'peakMB': used.ru_maxrss * 1024 / 1e6}), file=sys.__stdout__)
