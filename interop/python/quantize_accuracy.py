"""Accuracy of networks that onnxruntime.quantization quantizes, beside ours: same float model, samples, bits."""
import json
import math
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


def judged(path, job):
    """Which test samples a model gets right, and in which its two best classes are equal."""
    running = session(path)
    array = samples(job['test'], job['sampleShape'])
    labels = np.array(job['labels'])
    right = []
    tied = []
    for start in range(0, len(array), job['testBatch']):
        part = array[start : start + job['testBatch']]
        scores = running.run(None, {job['input']: part})[0].reshape(len(part), -1)
        right.append(scores.argmax(axis=1) == labels[start : start + len(part)])
        best = np.sort(scores, axis=1)
        tied.append(best[:, -1] == best[:, -2])
    return np.concatenate(right), np.concatenate(tied)


def mcnemar(first, second):
    """Probability that chance splits so many samples at least as unevenly (exact, two-sided)."""
    count = first + second
    tail = sum(math.comb(count, i) for i in range(min(first, second) + 1))
    return min(1.0, 2 * tail / 2**count)


def paired(network, calibrator, found):
    """One row from what both models got right: of one split, or of several of the same samples."""
    difference = {}
    tied = set()
    for ids, ours, theirs, equal in found:
        for i, a, b, is_tied in zip(ids, ours, theirs, equal):
            difference[i] = difference.get(i, 0) + int(a) - int(b)
            if a != b and is_tied:
                tied.add(i)
    only_ours = sum(d > 0 for d in difference.values())
    only_theirs = sum(d < 0 for d in difference.values())
    return {
        'network': network,
        'calibrator': calibrator,
        'ours': float(np.mean([ours.mean() for _, ours, _, _ in found])),
        'theirs': float(np.mean([theirs.mean() for _, _, theirs, _ in found])),
        'onlyOurs': only_ours,
        'onlyTheirs': only_theirs,
        'tied': sum(difference[i] != 0 for i in tied),
        'p': mcnemar(only_ours, only_theirs),
    }


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


def compared(job, problems):
    """Per calibrator: samples, and what each side gets right."""
    right, _ = judged(job['model'], job)
    if abs(right.mean() - job['float']) > 1e-3:
        problems.append(f"{job['name']}: float accuracy is {right.mean():.4f} here and {job['float']:.4f} there")
    found = {}
    for own, method in job['pairs']:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, 'quantized.onnx')
            quantized(job, method, path)
            theirs, equal = judged(path, job)
        ours, _ = judged(job['files'][own], job)
        # One sample may go either way with another build of the runtime.
        if abs(ours.mean() - job['ours'][own]) > 1.01 / len(ours):
            problems.append(f"{job['name']}, {own}: ours is {ours.mean():.4f} here and {job['ours'][own]:.4f} there")
        found[own] = (job['ids'], ours, theirs, equal)
    return found


def main():
    with open(sys.argv[1], encoding='utf8') as file:
        jobs = json.load(file)
    problems = []
    rows = []
    networks = {}
    for job in jobs:
        found = compared(job, problems)
        for own, each in found.items():
            rows.append({**paired(job['name'], own, [each]), 'float': job['float']})
        networks.setdefault(job['name'].split('@')[0], []).append((job, found))
    for name, folds in networks.items():
        if len(folds) > 1:
            for own, _ in folds[0][0]['pairs']:
                row = paired(f'{name}, {len(folds)} splits', own, [found[own] for _, found in folds])
                rows.append({**row, 'float': float(np.mean([job['float'] for job, _ in folds]))})
    for row in rows:
        if row['ours'] < row['theirs'] and row['p'] < jobs[0]['significant']:
            problems.append(
                f"{row['network']}, {row['calibrator']}: {100 * row['ours']:.2f} % against {100 * row['theirs']:.2f} %, p {row['p']:.4f}"
            )
    pairs = [f"{row['calibrator']} {100 * row['ours']:.1f}/{100 * row['theirs']:.1f} (p {row['p']:.2f})" for row in rows]
    print(json.dumps({'problems': problems, 'found': 'accuracy ours/theirs in %: ' + ', '.join(pairs), 'rows': rows}))


main()
