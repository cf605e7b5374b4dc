"""Accuracy of networks that onnxruntime.quantization quantizes, beside ours: same float model, samples, bits."""
import json
import os
import sys
import tempfile

import numpy as np
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

METHODS = {
    'minmax': (CalibrationMethod.MinMax, {}),
    'moving-average': (CalibrationMethod.MinMax, {'CalibMovingAverage': True}),
    'percentile': (CalibrationMethod.Percentile, {}),
    'entropy': (CalibrationMethod.Entropy, {}),
}


def samples(path, shape):
    return np.fromfile(path, dtype=np.float32).reshape([-1, *shape])


def batches(array, size):
    for start in range(0, len(array), size):
        if start == 0 or len(array[start : start + size]) == size:
            yield array[start : start + size]


class Reader(CalibrationDataReader):
    def __init__(self, name, array, size):
        self.feeds = ({name: batch} for batch in batches(array, size))

    def get_next(self):
        return next(self.feeds, None)


def session(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])


def accuracy(path, job):
    running = session(path)
    array = samples(job['test'], job['sampleShape'])
    labels = np.array(job['labels'])
    right = 0
    for start in range(0, len(array), job['testBatch']):
        part = array[start : start + job['testBatch']]
        scores = running.run(None, {job['input']: part})[0]
        right += int((scores.reshape(len(part), -1).argmax(axis=1) == labels[start : start + len(part)]).sum())
    return right / len(array)


def quantized(job, method, path):
    calibrator, extra = METHODS[method]
    array = samples(job['calibration'], job['sampleShape'])
    quantize_static(
        job['model'],
        path,
        Reader(job['input'], array, job['calibrationBatch']),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        calibrate_method=calibrator,
        extra_options=extra,
    )


def main():
    with open(sys.argv[1], encoding='utf8') as file:
        jobs = json.load(file)
    problems = []
    theirs = {}
    for job in jobs:
        found = theirs[job['name']] = {}
        float_accuracy = accuracy(job['model'], job)
        if abs(float_accuracy - job['float']) > 1e-3:
            problems.append(f"{job['name']}: float accuracy is {float_accuracy:.4f} here and {job['float']:.4f} there")
        for own, method in job['pairs']:
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, 'quantized.onnx')
                quantized(job, method, path)
                found[method] = accuracy(path, job)
            if job['ours'][own] < found[method] - job['slack']:
                problems.append(
                    f"{job['name']}, {own}: {100 * job['ours'][own]:.2f} % against {100 * found[method]:.2f} %"
                )
    pairs = [f"{own} {100 * job['ours'][own]:.1f}/{100 * theirs[job['name']][method]:.1f}" for job in jobs for own, method in job['pairs']]
    print(json.dumps({'problems': problems, 'found': 'accuracy ours/theirs in %: ' + ', '.join(pairs), 'theirs': theirs}))


main()
