"""Training steps of ResNet-20 in PyTorch against those of Whittle's graphs in ONNX Runtime.

usage: training.py JOB.json. Checks every weight and running statistic after a few steps, by the change it went through.
"""

import json
import sys

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch.nn import functional

import cifar_resnet

# Of ‖change − change'‖ / ‖change‖ over all weights, and over all running statistics.
TOLERANCE = 1e-3

with open(sys.argv[1], encoding='utf-8') as file:
    job = json.load(file)
torch.set_num_threads(1)
images = torch.from_numpy(np.load(job['images']))
labels = torch.tensor(job['labels'])
tensors = {
    one.name: torch.from_numpy(numpy_helper.to_array(one).copy()) for one in onnx.load(job['model']).graph.initializer
}


def network():
    made = cifar_resnet.CifarResNet(20)
    made.load_state_dict({**made.state_dict(), **{name: tensors[name] for name in made.state_dict() if name in tensors}})
    return made


def optimizer_of(settings, parameters):
    kind = settings['kind']
    decay = settings.get('weightDecay', 0)
    if kind == 'sgd':
        return torch.optim.SGD(
            parameters, 1, settings['momentum'], weight_decay=decay, nesterov=settings.get('nesterov', False)
        )
    if kind == 'adamw':
        return torch.optim.AdamW(parameters, 1, weight_decay=decay)
    return torch.optim.RMSprop(parameters, 1, momentum=settings['momentum'], weight_decay=decay)


def loss_of(terms, logits, target, teacher):
    total = 0
    for term in terms:
        weight = term.get('weight', 1)
        if term['kind'] == 'cross-entropy':
            total += weight * functional.cross_entropy(logits, target, label_smoothing=term.get('labelSmoothing', 0))
        else:
            t = term['temperature']
            own = functional.log_softmax(logits / t, 1)
            wanted = functional.log_softmax(teacher / t, 1)
            total += weight * t * t * functional.kl_div(own, wanted, reduction='batchmean', log_target=True)
    return total


def check(name, case):
    student = network().train()
    teacher = network().eval()
    optimizer = optimizer_of(case['optimizer'], student.parameters())
    losses = []
    for step, rate in enumerate(case['rates']):
        rows = slice(step * job['batch'], (step + 1) * job['batch'])
        with torch.no_grad():
            answers = teacher(images[rows])
        optimizer.zero_grad()
        loss = loss_of(case['loss'], student(images[rows]), labels[rows], answers)
        loss.backward()
        if 'clip' in case:
            torch.nn.utils.clip_grad_norm_(student.parameters(), case['clip']['norm'])
        for group in optimizer.param_groups:
            group['lr'] = rate
        optimizer.step()
        losses.append(loss.item())
    sums = {'weights': [0, 0], 'statistics': [0, 0]}
    state = student.state_dict()
    for parameter, path in case['weights'].items():
        start = tensors[parameter].numpy().astype(np.float64)
        wanted = state[parameter].numpy().astype(np.float64) - start
        found = np.load(path).astype(np.float64) - start
        part = sums['statistics' if 'running' in parameter else 'weights']
        part[0] += ((wanted - found) ** 2).sum()
        part[1] += (wanted**2).sum()
    errors = {part: float(np.sqrt(difference / size)) for part, (difference, size) in sums.items()}
    errors['losses'] = float(np.abs(np.array(losses) / np.array(case['losses']) - 1).max())
    missing = [key for key in state if key not in case['weights'] and not key.endswith('num_batches_tracked')]
    problems = [f'{name}: {part} differ by {error:.1e}' for part, error in errors.items() if not error <= TOLERANCE]
    if missing:
        problems.append(f'{name}: not trained: {missing}')
    return problems, f'{name} ' + ', '.join(f'{part} {error:.0e}' for part, error in errors.items())


problems, found = [], []
for name, case in job['cases'].items():
    wrong, text = check(name, case)
    problems += wrong
    found.append(text)
print(json.dumps({'problems': problems, 'found': '; '.join(found)}))
