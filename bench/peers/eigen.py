"""Eigenpairs or singular triples of one matrix by LAPACK; prints one line of JSON, as our-eigen.mjs does."""

import json
import resource
import sys
import time

import numpy as np

try:
    import scipy.linalg as scipy_linalg
except ImportError:
    scipy_linalg = None

job = json.loads(sys.argv[1])
a = np.load(job['data'])
n = a.shape[0]
if job['kind'] == 'eigen':
    work = {'all': lambda: np.linalg.eigh(a), 'values': lambda: np.linalg.eigvalsh(a)}
    if scipy_linalg:
        # Only the largest: LAPACK's syevr leaves out the others' values too.
        work['quarter'] = lambda: scipy_linalg.eigh(a, subset_by_index=[n - n // 4, n - 1], driver='evr')
else:
    work = {'all': lambda: np.linalg.svd(a), 'values': lambda: np.linalg.svd(a, compute_uv=False)}
split = {}
for name, call in work.items():
    split[name] = float('inf')
    for _ in range(job['repeats']):
        started = time.perf_counter()
        result = call()
        split[name] = min(split[name], time.perf_counter() - started)
    if name == 'all' and job['kind'] == 'eigen':
        values, vectors = result
        residual = np.linalg.norm(a @ vectors - vectors * values) / np.linalg.norm(a)
    elif name == 'all':
        u, s, vt = result
        residual = np.linalg.norm(a @ vt.T - u * s) / np.linalg.norm(a)
used = resource.getrusage(resource.RUSAGE_SELF)
unit = 1 if sys.platform == 'darwin' else 1024
print(
    json.dumps(
        {
            'seconds': sum(split.values()),
            'split': split,
            'residual': float(residual),
            'peakMB': used.ru_maxrss * unit / 1e6,
            'cpu': used.ru_utime + used.ru_stime,
        }
    )
)
