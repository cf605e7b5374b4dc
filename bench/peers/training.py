"""Training steps of a network that bench/our-training.mjs wrote, in PyTorch; prints one line of JSON."""

import json
import resource
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

job = json.loads(sys.argv[1])
torch.set_num_threads(job['threads'])
spec = json.load(open(job['dump'] + '.json'))
data = np.fromfile(job['dump'] + '.bin', dtype=np.float32)
batch = spec['batch']
last = torch.channels_last if job['layout'] == 'channels_last' else torch.contiguous_format


def tensor(offset, shape):
    size = int(np.prod(shape))
    value = torch.from_numpy(data[offset : offset + size].reshape(shape).copy())
    return value.contiguous(memory_format=last) if len(shape) == 4 else value


x = tensor(0, [batch, 3, 32, 32])
y = torch.arange(batch) % 10
values = {name: tensor(t['offset'], t['shape']) for name, t in spec['tensors'].items()}
statistics = {name for node in spec['nodes'] if node['op'] == 'BatchNormalization' for name in node['inputs'][3:]}
parameters = [value.requires_grad_() for name, value in values.items() if name not in statistics]


def convolution(a, v):
    pads = a.get('pads', [0, 0, 0, 0])
    return F.conv2d(*v, stride=a.get('strides', [1, 1]), padding=pads[:2], groups=a.get('group', 1))


OPERATORS = {
    'Add': lambda a, v: v[0] + v[1],
    'BatchNormalization': lambda a, v: F.batch_norm(v[0], v[3], v[4], v[1], v[2], True, 1 - a['momentum'], a['epsilon']),
    'Flatten': lambda a, v: torch.flatten(v[0], 1),
    'Gemm': lambda a, v: F.linear(v[0], v[1], v[2]),
    'GlobalAveragePool': lambda a, v: v[0].mean((2, 3), keepdim=True),
    'MaxPool': lambda a, v: F.max_pool2d(v[0], a['kernel_shape'], a['strides']),
    'Relu': lambda a, v: F.relu(v[0]),
}
plan = [
    (OPERATORS.get(node['op'], lambda a, v: convolution(a, v[:2])), node['attributes'], node['inputs'], node['outputs'][0])
    for node in spec['nodes']
]
for node in spec['nodes']:
    assert node['op'] == 'Conv' or node['op'] in OPERATORS, node['op']


def forward(pictures):
    known = dict(values, input=pictures)
    for operator, attributes, inputs, output in plan:
        known[output] = operator(attributes, [known[name] for name in inputs])
    return known[output]


optimizer = torch.optim.SGD(parameters, lr=job['lr'], momentum=0.9, weight_decay=5e-4)


def step():
    optimizer.zero_grad()
    loss = F.cross_entropy(forward(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


losses = [step() for _ in range(5)]
step()
times, processor = [], []
for _ in range(8 * job['runs']):
    started, before = time.perf_counter(), time.process_time()
    step()
    times.append(time.perf_counter() - started)
    processor.append(time.process_time() - before)
used = resource.getrusage(resource.RUSAGE_SELF)
unit = 1 if sys.platform == 'darwin' else 1024
print(
    json.dumps(
        {
            'seconds': min(times),
            'losses': losses,
            'processor': min(processor),
            'peakMB': used.ru_maxrss * unit / 1e6,
            'cpu': used.ru_utime + used.ru_stime,
        }
    )
)
