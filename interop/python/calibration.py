"""Ranges of Whittle's calibrators beside numpy, scipy, torch and onnxruntime.quantization, on the same activations."""

import json
import os
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
from onnxruntime.quantization.calibrate import create_calibrator
from scipy.stats import entropy as kl

FLT_EPSILON = 1.192092896e-7
problems = []
worst = {}
steps = []


def note(check, value, limit, where):
    worst[check] = max(worst.get(check, 0.0), float(value))
    if not value <= limit:
        problems.append(f'{check}: {where} is off by {value:.3g}, more than {limit:g}')


def activations(path, feed_name, batches, tensors):
    """All elements of each tensor, per batch, from a model without any rewriting."""
    model = onnx.load(path)
    present = {output.name for output in model.graph.output}
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in tensors if name not in present)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=['CPUExecutionProvider'])
    found = {name: [] for name in tensors}
    for batch in batches:
        for name, value in zip(tensors, session.run(tensors, {feed_name: batch}), strict=True):
            found[name].append(value.reshape(-1))
    return found


class Reader(CalibrationDataReader):
    def __init__(self, name, batches):
        self.feeds = iter([{name: batch} for batch in batches])

    def get_next(self):
        return next(self.feeds, None)


def ort_ranges(path, name, batches, method, **extra):
    stdout = sys.stdout
    sys.stdout = sys.stderr
    try:
        with tempfile.TemporaryDirectory() as folder:
            augmented = os.path.join(folder, 'augmented.onnx')
            calibrator = create_calibrator(path, None, augmented, calibrate_method=method, extra_options=extra)
            calibrator.collect_data(Reader(name, batches))
            data = calibrator.compute_data().data
    finally:
        sys.stdout = stdout
    return {tensor: [float(np.squeeze(x)) for x in value.range_value] for tensor, value in data.items()}


def entropy_threshold(counts, outliers, levels):
    """KL divergence of every threshold, built as two distributions and left to scipy."""

    def divergence(i):
        p = counts[:i].astype(np.float64)
        p[-1] += counts[i:].sum() + outliers
        level = np.arange(i) * levels // i
        filled = counts[:i] > 0
        mass = np.bincount(level, counts[:i], levels)
        width = np.bincount(level, filled, levels)
        q = np.where(filled, (mass / np.maximum(width, 1))[level], 0)
        if p[-1] > 0 and q[-1] == 0:
            q[-1] = 1e-4
        return kl(p, q)

    size = len(counts)
    candidates = list(range(size, levels - 1, -16))
    values = [divergence(i) for i in candidates]
    best = candidates[int(np.argmin(values))]
    near = list(range(min(size, best + 15), max(levels, best - 15) - 1, -1))
    values = [divergence(i) for i in near]
    return near[int(np.argmin(values))]


def entropy_range(data, levels=128, bins=4096):
    magnitudes = np.abs(data[data != 0]).astype(np.float64)
    most = magnitudes.max()
    reach = 2.0 ** np.ceil(np.log2(most))
    while (magnitudes >= reach / 2).sum() * 128 <= len(magnitudes):
        reach /= 2
    while True:
        outliers = int((magnitudes >= reach).sum())
        counts = np.bincount((magnitudes[magnitudes < reach] * (bins / reach)).astype(np.int64), minlength=bins)
        used = counts[: np.nonzero(counts)[0][-1] + 1] if outliers == 0 else counts
        best = entropy_threshold(used, outliers, levels)
        if outliers == 0 or best < 0.9 * bins:
            return min(best * reach / bins, most)
        reach *= 2


def ifmr(data, symmetric, p=0.9999, bits=8):
    """AMCT's search in float32; the loss of any scale, and the scale with the least."""
    n = len(data)
    k = 1 if 1 - p < FLT_EPSILON else n - int(p * n)
    ordered = np.sort(data)
    high = max(np.float32(0), ordered[n - k])
    low = min(np.float32(0), ordered[k - 1])
    negative = abs(high) < abs(low)
    if symmetric:
        high = max(abs(high), abs(low))
    steps = 2**bits - 1 if not symmetric else 2 ** (bits - 1) - (0 if negative else 1)
    candidates = np.arange(0.7, 1.3, 0.01).astype(np.float32) * np.float32(high)
    assert len(candidates) == 61

    def loss(c, scale):
        clipped = np.clip(data, -c if symmetric else low, c)
        return float(np.square(np.round(clipped / scale) * scale - data, dtype=np.float64).sum())

    scales = [np.float32(c / steps) if symmetric else np.float32((c - low) / steps) for c in candidates]
    losses = [loss(c, s) for c, s in zip(candidates, scales, strict=True)]
    best = int(np.argmin(losses))
    return scales, losses, best


def hfmg(batches, bins=1024, bits=8):
    """AMCT's accumulation and search in numpy, counts by torch.histc; the clip range."""
    import torch

    counts = edges = None
    for batch in batches:
        low, high = batch.min(), batch.max()
        if counts is not None:
            low, high = min(low, edges[0]), max(high, edges[1])
        fresh = torch.histc(torch.from_numpy(batch), bins, float(low), float(high)).numpy().astype(np.float64)
        if counts is not None:
            if np.isclose(low, edges[0], 1e-9, FLT_EPSILON) and np.isclose(high, edges[1], 1e-9, FLT_EPSILON):
                fresh += counts
            else:
                width = np.float32((edges[1] - edges[0]) / bins)
                merged = np.float32((high - low) / bins)
                for i in range(bins):
                    lower = np.float32(edges[0] + i * width)
                    upper = np.float32(edges[0] + (i + 1) * width)
                    a = min(int((lower - low) // merged), bins - 1)
                    b = min(int((upper - low) // merged), bins - 1)
                    if a == b:
                        fresh[a] += counts[i]
                    else:
                        below = int(counts[i] * ((low + (a + 1) * merged - lower) / (upper - lower)))
                        fresh[a] += below
                        fresh[b] += counts[i] - below
        counts, edges = fresh, (np.float32(low), np.float32(high))
    width = (float(edges[1]) - float(edges[0])) / bins
    step = max(int(np.ceil(counts.sum() / 100000)), 1)
    left, right, ranges = 0, bins - 1, []
    while right - left > np.ceil(bins / 4):
        a, b, from_left, from_right = left, right, 0, 0
        while a < b and from_left < step:
            from_left += counts[a]
            a += 1
        while a < b and from_right < step:
            from_right += counts[b]
            b -= 1
        if right - b >= a - left:
            right = b
        else:
            left = a
        ranges.append((left, right))
    # Each bin as 32 equal parts: the integral as a sum.
    centres = (np.arange(bins * 32) + 0.5) / 32
    weights = np.repeat(counts / 32, 32)
    losses = []
    for left, right in ranges[:: max(1, len(ranges) // 100)] + ranges[-1:]:
        size = (right - left + 1) / 2**bits
        target = np.clip(np.floor((centres - left) / size), 0, 2**bits - 1)
        losses.append(float((weights * np.square(centres - left - (target + 0.5) * size)).sum()))

    def loss(low, high):
        left, right = (low - float(edges[0])) / width, (high - float(edges[0])) / width
        size = (right - left) / 2**bits
        target = np.clip(np.floor((centres - left) / size), 0, 2**bits - 1)
        return float((weights * np.square(centres - left - (target + 0.5) * size)).sum())

    return min(losses), loss


def check(case):
    name, path, feed = case['name'], case['model'], case['input']
    batches = [np.load(file) for file in case['batches']]
    tensors = list(case['ranges'])
    raw = activations(path, feed, batches, tensors)
    ort_minmax = ort_ranges(path, feed, batches, CalibrationMethod.MinMax)
    ort_entropy = ort_ranges(path, feed, batches, CalibrationMethod.Entropy)
    degenerate = []
    for index, tensor in enumerate(tensors):
        ours = case['ranges'][tensor]
        data = np.concatenate(raw[tensor])
        span = float(data.max() - data.min()) or 1.0
        where = f'{name}, {tensor}'

        def compare(check, found, expected, limit):
            off = max(abs(a - b) for a, b in zip(found, expected, strict=True)) / span
            note(check, off, limit, where)

        # Fused and unfused convolutions round differently: a few units in the last place of float32.
        compare('minmax against ONNX Runtime', ours['minmax'], ort_minmax[tensor], 2e-6)
        average = None
        for batch in raw[tensor]:
            ends = np.array([batch.min(), batch.max()], np.float64)
            average = ends if average is None else average + 0.01 * (ends - average)
        compare('moving average', ours['moving-average'], average, 2e-6)
        cut = (100 - 99.99) / 2
        compare('percentile against numpy', ours['percentile'], np.percentile(data, [cut, 100 - cut]), 2e-6)
        most = np.percentile(np.abs(data), 99.99)
        compare('percentile of magnitudes', ours['percentile-symmetric'], [-most, most], 2e-6)
        if tensor in ort_entropy:
            full = max(abs(data.min()), abs(data.max()))
            clipped = [max(-full, data.min()), min(full, data.max())]
            off = max(abs(a - b) for a, b in zip(ort_entropy[tensor], clipped, strict=True)) / span
            degenerate.append(off < 2e-6)
        for symmetric, key in ((False, 'ifmr'), (True, 'ifmr-symmetric')):
            scales, losses, best = ifmr(data, symmetric)
            mine = (ours[key][1] - ours[key][0]) / (255 if not symmetric else 254)
            near = int(np.argmin(np.abs(np.array(scales) - mine)))
            steps.append(abs(near - best))
            note('ifmr: scale is one of the candidates', abs(scales[near] / mine - 1), 1e-5, where)
            note('ifmr: loss beyond the least, relative', losses[near] / max(losses[best], 1e-30) - 1, 2e-3, where)
        if index % 5 == 0:
            threshold = entropy_range(data)
            # A bin more or less of 4,096, where a number lies at an edge.
            note('entropy against scipy', abs(ours['entropy'][1] / threshold - 1), 2e-3, where)
            least, loss = hfmg(raw[tensor])
            note('hfmg: loss beyond the least, relative', loss(*ours['hfmg']) / least - 1, 0.05, where)
    same = sum(degenerate)
    note('share of tensors where ONNX Runtime’s entropy is not minmax', 1 - same / len(degenerate), 0.0, name)
    return len(tensors)


cases = json.load(open(sys.argv[1]))
count = sum(check(case) for case in cases)
summary = f'{count} tensors; ' + ', '.join(f'{key} {value:.2g}' for key, value in worst.items())
summary += f'; ifmr takes the same candidate in {sum(s == 0 for s in steps)} of {len(steps)}, at most {max(steps)} off'
print(json.dumps({'problems': problems, 'found': summary}))
