"""Decomposes one convolution's weight with TensorLy or PyTorch, as a user of theirs would; prints one line of JSON.

Timed like Whittle's side: from reading the weight's file to the factors being written, without the interpreter's start
and the imports. The factors are checked elsewhere, by the same code for everybody.
"""

import json
import os
import resource
import sys
import time

import numpy as np

job = json.loads(sys.argv[1])
marks = [time.perf_counter()]


def mark():
    marks.append(time.perf_counter())


def start():
    """Reads the weight `[out, in, height, width]`; the clock starts here, after the imports."""
    marks[0] = time.perf_counter()
    weight = np.load(job['weight'])
    mark()
    return weight


def write(factors):
    mark()
    for name, array in factors.items():
        np.save(os.path.join(job['out'], name + '.npy'), np.ascontiguousarray(array, dtype=np.float32))
    mark()


def tucker():
    import tensorly as tl
    from tensorly.decomposition import partial_tucker

    tl.set_backend(job['backend'])
    if job['backend'] == 'pytorch':
        import torch

        torch.set_num_threads(job['threads'])
    tensor = tl.tensor(start())
    (core, (output, inputs)), errors = partial_tucker(
        tensor, rank=[job['rank'], job['rank']], modes=[0, 1], init='svd', svd='randomized_svd', random_state=1
    )
    write({'core': tl.to_numpy(core), 'output': tl.to_numpy(output), 'input': tl.to_numpy(inputs)})
    return {'sweeps': len(errors)}


def spatial():
    """torch.svd_lowrank of the matrix that AMCT's mode SCFK factors: rows (in, height), columns (out, width)."""
    import torch

    torch.set_num_threads(job['threads'])
    torch.manual_seed(1)
    weight = torch.from_numpy(start())
    outputs, inputs, height, width = weight.shape
    matrix = weight.permute(1, 2, 0, 3).reshape(inputs * height, outputs * width)
    u, s, v = torch.svd_lowrank(matrix, q=job['rank'], niter=2)
    first = u.T.reshape(job['rank'], inputs, height, 1)
    last = (v * s).reshape(outputs, width, job['rank']).permute(0, 2, 1).reshape(outputs, job['rank'], 1, width)
    write({'first': first.numpy(), 'last': last.numpy()})
    return {}


extra = {'tucker': tucker, 'spatial': spatial}[job['method']]()
used = resource.getrusage(resource.RUSAGE_SELF)
unit = 1 if sys.platform == 'darwin' else 1024
print(
    json.dumps(
        {
            'seconds': marks[-1] - marks[0],
            'split': {'read': marks[1] - marks[0], 'factor': marks[2] - marks[1], 'write': marks[3] - marks[2]},
            'peakMB': used.ru_maxrss * unit / 1e6,
            'cpu': used.ru_utime + used.ru_stime,
            **extra,
        }
    )
)
