"""A CIFAR ResNet in PyTorch against Whittle's ONNX files of it: original, Tucker-2, and AMCT's reader and writer.

usage: networks.py JOB.json CHECK, with CHECK one of `original`, `tucker`, `amct-reads`, `amct-writes`.
"""

import json
import os
import sys
import tempfile

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

import amct
import cifar_resnet

TOLERANCE = 1e-5

with open(sys.argv[1], encoding='utf-8') as file:
    job = json.load(file)
images = torch.from_numpy(np.load(job['images']))


def tensors_of(path):
    model = onnx.load(path)
    return {one.name: torch.from_numpy(numpy_helper.to_array(one).copy()) for one in model.graph.initializer}


def compare(network, expected):
    """Relative error of the logits against those ONNX Runtime computed from our file."""
    with torch.no_grad():
        logits = network.eval()(images).numpy()
    reference = np.load(expected)
    error = np.linalg.norm(logits - reference) / np.linalg.norm(reference)
    problems = [] if error <= TOLERANCE else [f'outputs differ by {error:.1e}; at most {TOLERANCE:.0e}']
    return problems, f'{len(images)} images, outputs differ by {error:.1e}'


def replace(network, name, layers):
    *path, last = name.split('.')
    parent = network.get_submodule('.'.join(path))
    setattr(parent, last, layers)


def original():
    network = cifar_resnet.load(job['depth'], job['trained'])
    tensors = tensors_of(job['original'])
    state = network.state_dict()
    wrong = [name for name, value in state.items() if name in tensors and not torch.equal(value, tensors[name])]
    absent = [name for name in state if name not in tensors and not name.endswith('num_batches_tracked')]
    problems, found = compare(network, job['originalOutputs'])
    if wrong or absent:
        problems.append(f'parameters that are not equal: {wrong}; not there: {absent}')
    return problems, f'{found}; {len(state)} parameters equal'


def tucker():
    """Our factors in PyTorch's own convolutions: the core carries kernel, stride and padding."""
    network = cifar_resnet.load(job['depth'], job['trained'])
    tensors = tensors_of(job['tucker'])
    count = 0
    for name, conv in list(network.named_modules()):
        if not isinstance(conv, nn.Conv2d) or f'{name}.core.weight' not in tensors:
            continue
        layers = nn.Sequential()
        for role in ('first', 'core', 'last'):
            weight = tensors[f'{name}.{role}.weight']
            carried = {'stride': conv.stride, 'padding': conv.padding} if role == 'core' else {}
            layer = nn.Conv2d(weight.shape[1], weight.shape[0], tuple(weight.shape[2:]), bias=False, **carried)
            layer.weight.data = weight
            layers.append(layer)
        replace(network, name, layers)
        count += 1
    problems, found = compare(network, job['tuckerOutputs'])
    if count != job['tuckerLayers']:
        problems.append(f"{count} layers found; Whittle decomposed {job['tuckerLayers']}")
    return problems, f'{found}; {count} layers'


def amct_reads():
    """AMCT rebuilds the structure from our decompose_info.json; our weights go in; outputs as ours."""
    problems, notes = [], []
    for kind in ('spatial', 'amct'):
        network = cifar_resnet.load(job['depth'], job['trained'])
        module = amct.tensor_decompose(job['checkout'])
        network, changes = module.decompose_network(network, job[f'{kind}Info'])
        tensors = tensors_of(job[kind])
        state = network.state_dict()
        for name, (first, last) in changes.items():
            state[f'{first}.weight'] = tensors[f'{name}.first.weight']
            state[f'{last}.weight'] = tensors[f'{name}.last.weight']
        network.load_state_dict(state)
        wrong, found = compare(network, job[f'{kind}Outputs'])
        if len(changes) != job[f'{kind}Layers']:
            wrong.append(f"AMCT changed {len(changes)} layers, Whittle {job[f'{kind}Layers']}")
        problems += wrong
        notes.append(f'{len(changes)} layers ({kind} ranks): {found}')
    return problems, '; '.join(notes)


def amct_writes():
    """AMCT's auto_decomposition beside Whittle's --rank amct: the same layers, modes and ranks, and the same errors."""
    with tempfile.TemporaryDirectory() as folder:
        reason = amct.compile_library(job['checkout'], folder)
        if reason:
            return [], None, reason
        module = amct.tensor_decompose(job['checkout'], folder)
        rank_problems = compare_ranks(folder)
        network = cifar_resnet.load(job['depth'], job['trained'])
        weights = {name: one.weight.detach().double() for name, one in network.named_modules() if isinstance(one, nn.Conv2d)}
        info = os.path.join(folder, 'decompose_info.json')
        network, _ = module.auto_decomposition(network, info)
        with open(info, encoding='utf-8') as file:
            theirs = json.load(file)
    with open(job['amctInfo'], encoding='utf-8') as file:
        ours = json.load(file)
    problems = rank_problems + ([] if ours == theirs else ['decompose_info.json is not the same'])
    tensors = tensors_of(job['amct'])
    state = network.state_dict()
    worst = 0.0
    for entry in theirs:
        name = entry['ori_layer_info']['name']
        weight = weights[name]
        errors = []
        for first, last in (
            (state[f'{name}.0.weight'], state[f'{name}.1.weight']),
            (tensors[f'{name}.first.weight'], tensors[f'{name}.last.weight']),
        ):
            product = torch.einsum('orb,ria->oiab', last.double().flatten(2), first.double().flatten(2))
            errors.append(float(torch.linalg.norm(weight - product) / torch.linalg.norm(weight)))
        worst = max(worst, errors[1] / errors[0] - 1)
        if errors[1] > errors[0] * 1.0001:
            problems.append(f'{name}: error {errors[1]:.6f}, AMCT {errors[0]:.6f}')
    return problems, f"{len(theirs)} layers alike, errors at most {worst:.1e} above AMCT's; {len(job['spectra'])} ranks equal"


def compare_ranks(folder):
    import ctypes

    library = ctypes.cdll.LoadLibrary(os.path.join(folder, 'libtensor_decompose.so'))
    fields = 'in_channel out_channel kernel_h kernel_w stride_h stride_w group dilation_h dilation_w'.split()

    class Convolution(ctypes.Structure):
        _fields_ = [(name, ctypes.c_int) for name in fields]

    problems = []
    for case in job['spectra']:
        values = np.array(case['values'])
        inputs, outputs, kernel = case['inputs'], case['outputs'], case['kernel']
        info = Convolution(inputs, outputs, kernel, kernel, 1, 1, 1, 1, 1)
        pointer = values.ctypes.data_as(ctypes.POINTER(ctypes.c_double))
        rank = library.GetRank(info, pointer, ctypes.c_int(len(values)))
        if rank != case['amct']:
            problems.append(f"{case['name']}: AMCT's rank {rank}, Whittle's {case['amct']}")
    return problems


CHECKS = {'original': original, 'tucker': tucker, 'amct-reads': amct_reads, 'amct-writes': amct_writes}
problems, found, *skipped = CHECKS[sys.argv[2]]()
print(json.dumps({'problems': problems, 'found': found, 'skipped': skipped[0] if skipped else None}))
