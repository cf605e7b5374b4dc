"""Operations or one decomposition of a tensor with TensorLy; prints one line of JSON, as our-tensor.mjs does."""

import json
import resource
import sys
import time
import warnings

import numpy as np
import tensorly as tl
from tensorly.decomposition import parafac, tucker

warnings.simplefilter('ignore')
job = json.loads(sys.argv[1])
tl.set_backend(job['backend'])
IS_NUMPY = job['backend'] == 'numpy'
if not IS_NUMPY:
    import torch

    torch.set_num_threads(job['threads'])

ROWS, RANK = 20, 50
values = np.load(job['data'])
x = tl.tensor(values)


def operations():
    random = np.random.default_rng(0)
    modes = range(x.ndim)
    matrices = [tl.tensor(random.standard_normal((ROWS, x.shape[mode])).astype(np.float32)) for mode in modes]
    factors = [tl.tensor(random.standard_normal((x.shape[mode], RANK)).astype(np.float32)) for mode in modes]
    # Unfoldings are views until somebody needs their elements in order; ours are always in order.
    whole = np.ascontiguousarray if IS_NUMPY else lambda unfolded: unfolded.contiguous()
    calls = {'unfold, all modes': lambda: [whole(tl.unfold(x, mode)) for mode in modes]}
    for mode in modes:
        calls[f'mode product {mode}'] = lambda mode=mode: tl.tenalg.mode_dot(x, matrices[mode], mode)
    calls['all mode products'] = lambda: tl.tenalg.multi_mode_dot(x, matrices)
    calls['Khatri–Rao, without 0'] = lambda: tl.tenalg.khatri_rao(factors, skip_matrix=0)
    for mode in modes:
        calls[f'MTTKRP {mode}'] = lambda mode=mode: tl.tenalg.unfolding_dot_khatri_rao(x, (None, factors), mode)
    split = {}
    for name, call in calls.items():
        times = []
        begun = time.perf_counter()
        while time.perf_counter() - begun < 0.5:
            call()
        for _ in range(job['calls']):
            started = time.perf_counter()
            call()
            times.append(time.perf_counter() - started)
        split[name] = sorted(times)[len(times) // 2]
    return {'split': split, 'seconds': sum(split.values())}


CALLS, SECONDS = 5, 8


def decomposition():
    times = []
    memory = None
    while len(times) < CALLS and sum(times) < SECONDS:
        started = time.perf_counter()
        if job['kind'] == 'parafac':
            result = parafac(x, rank=job['rank'], n_iter_max=job['iterations'], init='random', tol=0, random_state=1)
        else:
            result = tucker(x, rank=job['ranks'], svd='randomized_svd', random_state=1)
        times.append(time.perf_counter() - started)
        memory = memory or peak()
    full = tl.cp_to_tensor(result) if job['kind'] == 'parafac' else tl.tucker_to_tensor(result)
    error = np.linalg.norm(tl.to_numpy(full) - values) / np.linalg.norm(values)
    seconds = sorted(times)[len(times) // 2]
    return {'seconds': seconds, 'first': times[0], 'relativeError': float(error), 'peakMB': memory}


def peak():
    unit = 1 if sys.platform == 'darwin' else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


report = operations() if job['kind'] == 'operations' else decomposition()
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({'peakMB': peak(), **report, 'cpu': used.ru_utime + used.ru_stime}))
