"""Loads, or loads and saves, a model with the `onnx` package; prints one line of JSON."""

import json
import resource
import sys
import time

import onnx

step, path, *out = sys.argv[1:]
started = time.perf_counter()
model = onnx.load(path)
if step == 'save':
    onnx.save(model, out[0])
used = resource.getrusage(resource.RUSAGE_SELF)
unit = 1 if sys.platform == 'darwin' else 1024
print(
    json.dumps(
        {
            'seconds': time.perf_counter() - started,
            'peakMB': used.ru_maxrss * unit / 1e6,
            'cpu': used.ru_utime + used.ru_stime,
        }
    )
)
