"""Gradients of whole networks: Whittle's, computed by ONNX Runtime, against PyTorch's autograd.

usage: gradients.py export FOLDER             writes networks as PyTorch's exporter does, images and labels
       gradients.py compare JOB.json NETWORK  compares; prints problems and what was found

Both sides use float32, the same weights and data, and the mean cross entropy.
"""

import json
import os
import sys
import warnings

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional

import cifar_resnet

# ‖difference‖ / ‖PyTorch's‖ per parameter.
TOLERANCE = 1e-4
# Where the exact gradient is zero (a bias before a batch normalisation that subtracts the mean again) rounding is all
# there is on either side: it may be this much of the largest gradient of the network.
ZERO = 1e-6
BATCH = 8


class InvertedResidual(nn.Module):
    def __init__(self, inputs, outputs, stride, expand):
        super().__init__()
        width = inputs * expand
        layers = [] if expand == 1 else [nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU6()]
        layers += [nn.Conv2d(width, width, 3, stride, 1, groups=width, bias=False), nn.BatchNorm2d(width), nn.ReLU6()]
        layers += [nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.layers(x) if self.residual else self.layers(x)


def mobilenet_v2():
    """MobileNetV2 (Sandler et al., 2018) in the CIFAR form: the first strides are 1."""
    stages = [(1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    layers = [nn.Conv2d(3, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU6()]
    inputs = 32
    for expand, outputs, count, stride in stages:
        for block in range(count):
            layers.append(InvertedResidual(inputs, outputs, stride if block == 0 else 1, expand))
            inputs = outputs
    layers += [nn.Conv2d(inputs, 1280, 1, bias=False), nn.BatchNorm2d(1280), nn.ReLU6()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 10))


def vgg():
    """VGG-16 (Simonyan and Zisserman, 2015) with batch normalisation, biases kept, in the CIFAR form."""
    layers, inputs = [], 3
    for outputs in [64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0]:
        if outputs == 0:
            layers.append(nn.MaxPool2d(2))
            continue
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
        inputs = outputs
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 10))


class Transformer(nn.Module):
    """Two encoder layers of width 64 over 4 × 4 patches."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 64, 4, 4)
        self.positions = nn.Parameter(torch.randn(1, 64, 64) * 0.1)
        layer = nn.TransformerEncoderLayer(64, 4, 128, 0.0, 'gelu', batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(64), enable_nested_tensor=False)
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        return self.head(self.encoder(tokens).mean(1))


NETWORKS = {
    'resnet20': lambda: cifar_resnet.CifarResNet(20),
    'mobilenet': mobilenet_v2,
    'vgg': vgg,
    'transformer': Transformer,
}


def randomize(network, images):
    """
    Away from the special values of an initialization: zero biases, unit scales, untouched statistics.

    Float32 rounding turns a few of the millions of ReLU inputs from just below zero to just above, in PyTorch as well
    as here, and each changes gradients by a thousandth. So biases are moved to where no input of `images` is near zero,
    and the fixed statistics are those of the images, so that both forms compute the same.
    """
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.LayerNorm)):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
        elif getattr(module, 'bias', None) is not None:
            nn.init.normal_(module.bias, std=0.1)

    def settle(module, inputs, output):
        channels = inputs[0].transpose(0, 1).flatten(1)
        module.running_mean.copy_(channels.mean(1))
        module.running_var.copy_(channels.var(1, correction=0))
        values = output.transpose(0, 1).flatten(1)
        for channel in range(len(values)):
            near = values[channel][values[channel].abs() < 0.05].sort().values
            near = torch.cat([torch.tensor([-0.05]), near, torch.tensor([0.05])])
            widest = near.diff().argmax()
            shift = -(near[widest] + near[widest + 1]) / 2
            module.bias[channel] += shift
            output[:, channel] += shift
        return output

    hooks = [m.register_forward_hook(settle) for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    with torch.no_grad():
        network.train()(images)
    for hook in hooks:
        hook.remove()
    return network


def closest_maxima(network, images):
    """The smallest difference between the two largest elements of a pooling window, relative to the values' size."""
    gaps = [np.inf]

    def measure(module, inputs, output):
        x = inputs[0]
        windows = x.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4).topk(2).values
        # Windows of zeros pass no gradient on: a ReLU comes before.
        positive = windows[windows[..., 0] > 0]
        gaps.append(float((positive[:, 0] - positive[:, 1]).min() / x.std()))

    hooks = [m.register_forward_hook(measure) for m in network.modules() if isinstance(m, nn.MaxPool2d)]
    with torch.no_grad():
        network.eval()(images)
    for hook in hooks:
        hook.remove()
    return min(gaps)


def made(name, images):
    """A network whose maxima rounding does not swap: the first of a few random ones."""
    networks = (randomize(NETWORKS[name](), images) for _ in range(50))
    return next(network for network in networks if closest_maxima(network, images) > 3e-6)


def export(folder):
    torch.manual_seed(0)
    images = torch.randn(BATCH, 3, 32, 32)
    np.save(os.path.join(folder, 'images.npy'), images.numpy())
    for name in ('mobilenet', 'vgg', 'transformer'):
        network = made(name, images)
        # What keeps the exporter from folding batch normalisations away, but for the training form of their nodes.
        network.eval() if name != 'transformer' else network.train()
        options = {'input_names': ['input'], 'output_names': ['logits'], 'opset_version': 18, 'dynamo': False}
        options |= {'training': torch.onnx.TrainingMode.PRESERVE, 'do_constant_folding': False}
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            torch.onnx.export(network, (images,), os.path.join(folder, f'{name}.onnx'), **options)


def gradients_of(network, images, labels, training):
    # Statistics are fixed in the frozen form, also while its weights are trained; nothing else depends on the mode.
    network.train(training)
    loss = functional.cross_entropy(network(images), labels)
    loss.backward()
    return loss.item(), {name: value.grad.numpy() for name, value in network.named_parameters()}


def compare(job, name):
    model = onnx.load(job[name]['model'])
    weights = {one.name: torch.from_numpy(numpy_helper.to_array(one).copy()) for one in model.graph.initializer}
    images = torch.from_numpy(np.load(job['images']))
    labels = torch.tensor(job['labels'])
    problems, found = [], []
    for mode, run in job[name]['runs'].items():
        network = NETWORKS[name]()
        _, unexpected = network.load_state_dict({k: v for k, v in weights.items() if k in network.state_dict()}, strict=False)
        before = {k: v.clone() for k, v in network.state_dict().items()}
        loss, expected = gradients_of(network, images, labels, mode == 'training')
        absent = sorted(set(expected) - set(run['gradients']))
        if absent or unexpected:
            problems.append(f'{mode}: no gradient of {absent}')
            continue
        actual = {key: np.load(path) for key, path in run['gradients'].items()}
        largest = max(np.linalg.norm(value) for value in expected.values())
        worst, zeros = ('', 0.0), 0
        for key, value in expected.items():
            difference = np.linalg.norm(actual[key] - value)
            if actual[key].shape != value.shape:
                problems.append(f'{mode}: {key} is {actual[key].shape}, not {value.shape}')
            elif np.linalg.norm(value) <= ZERO * largest:
                zeros += 1
                if not difference <= ZERO * largest:
                    problems.append(f'{mode}: {key} is zero in PyTorch; off by {difference / largest:.1e} of the largest')
            else:
                error = float(difference / np.linalg.norm(value))
                worst = max(worst, (key, error), key=lambda pair: pair[1] if pair[1] == pair[1] else np.inf)
                if not error <= TOLERANCE:
                    problems.append(f'{mode}: {key} off by {error:.1e}; at most {TOLERANCE:.0e}')
        if not abs(run['loss'] - loss) <= 1e-5 * abs(loss):
            problems.append(f'{mode}: loss {run["loss"]}, not {loss}')
        for key, path in run['statistics'].items():
            # PyTorch's running ← 0.9 running + 0.1 batch, solved for the batch's.
            batch = (network.state_dict()[key] - 0.9 * before[key]) / 0.1
            error = np.linalg.norm(np.load(path) - batch.numpy()) / np.linalg.norm(batch.numpy())
            if not error <= TOLERANCE:
                problems.append(f'{mode}: statistics for {key} off by {error:.1e}')
        zero = f', {zeros} zero' if zeros else ''
        found.append(f'{mode}: {len(expected)} parameters, worst {worst[1]:.1e} ({worst[0]}){zero}')
    return {'problems': problems, 'found': '; '.join(found)}


if __name__ == '__main__':
    if sys.argv[1] == 'export':
        export(sys.argv[2])
    else:
        with open(sys.argv[2], encoding='utf-8') as file:
            print(json.dumps(compare(json.load(file), sys.argv[3])))
