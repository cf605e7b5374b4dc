"""Fake quantization: Whittle's values and gradients against PyTorch's autograd.

usage: qat.py JOB.json

The quantizers are written here with torch.autograd.Function from the papers and AMCT's documentation: ULQ's formulas for
clip_max and clip_min, LSQ's equations 3 and 5, LSQ+'s equations 4 to 6. Biases are rounded to the product of the scales,
straight through. Both sides use float32.
"""

import json
import sys

import numpy as np
import torch

TOLERANCE = 2e-4


class Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch.round(x)

    @staticmethod
    def backward(ctx, g):
        return g


class Ulq(torch.autograd.Function):
    """clip_max and clip_min learned; the zero point is rounded."""

    @staticmethod
    def forward(ctx, x, high, low, bits):
        scale = (high - low) / (2**bits - 1)
        zero = torch.round(-low / scale)
        bottom, top = -zero * scale, (2**bits - 1 - zero) * scale
        v = torch.clamp(x / scale, -zero, 2**bits - 1 - zero)
        ctx.save_for_backward(x / scale, v, zero)
        ctx.bits = bits
        return torch.round(v) * scale

    @staticmethod
    def backward(ctx, g):
        u, v, zero = ctx.saved_tensors
        levels = 2**ctx.bits - 1
        upper, lower = (u > levels - zero).float(), (u < -zero).float()
        e = (torch.round(v) - v) / levels
        return g * (1 - upper) * (1 - lower), ((e + upper) * g).sum(), ((lower - e) * g).sum(), None


class Lsq(torch.autograd.Function):
    """The step learned, integers from low to high; with `passes` the gradient of x is unchanged by clipping."""

    @staticmethod
    def forward(ctx, x, scale, low, high, passes):
        v = x / scale
        ctx.save_for_backward(v, scale)
        ctx.limits = low, high, passes
        return torch.round(torch.clamp(v, low, high)) * scale

    @staticmethod
    def backward(ctx, g):
        v, scale = ctx.saved_tensors
        low, high, passes = ctx.limits
        inside = ((v >= low) & (v <= high)).float()
        slope = torch.where(v < low, torch.tensor(float(low)), torch.where(v > high, torch.tensor(float(high)), torch.round(v) - v))
        by_scale = (g * slope).sum_to_size(scale.shape) if scale.dim() else (g * slope).sum()
        return g if passes else g * inside, by_scale, None, None, None


class LsqPlus(torch.autograd.Function):
    """Step and offset learned; the offset is rounded to a whole number of steps."""

    @staticmethod
    def forward(ctx, x, scale, offset, bits):
        zero = torch.clamp(torch.round(-offset / scale), 0, 2**bits - 1)
        v = x / scale
        ctx.save_for_backward(v, zero)
        ctx.bits = bits
        return torch.round(torch.clamp(v, -zero, 2**bits - 1 - zero)) * scale

    @staticmethod
    def backward(ctx, g):
        v, zero = ctx.saved_tensors
        high = 2**ctx.bits - 1
        upper, lower = v > high - zero, v < -zero
        slope = torch.where(lower, torch.zeros(()), torch.where(upper, torch.tensor(float(high)), torch.round(v) - v))
        outside = (upper | lower).float()
        return g * (1 - outside), (g * slope).sum(), (g * outside).sum(), None


def load(path):
    return torch.from_numpy(np.load(path))


def activation(case, x, learned):
    bits, zero = case["bits"], case["zeroPoint"]
    levels = 2**bits - 1
    if case["algorithm"] == "ulq":
        low = learned.get("clipMin", torch.zeros(()))
        scale = (learned["clipMax"] - low).detach() / levels
        return Ulq.apply(x, learned["clipMax"], low, bits), scale
    scale = learned["scale"]
    if case["algorithm"] == "lsq+":
        return LsqPlus.apply(x, scale, learned["offset"], bits), scale.detach()
    return Lsq.apply(x, scale, -zero, levels - zero, False), scale.detach()


def weights(case, w, learned):
    limit = 2 ** (case["bits"] - 1) - 1
    if case["weights"] != "arq":
        scale = learned["weightScale"]
        return Lsq.apply(w, scale, -limit, limit, case["weights"] == "ulq"), scale.detach()
    most = w.detach().abs()
    scale = (most.amax(1, keepdim=True) if case["perChannel"] else most.max()) / limit
    return w + (torch.round(w / scale) * scale - w).detach(), scale


def check(case):
    values = {name: load(path) for name, path in case["values"].items()}
    leaves = {name: values[name].clone().requires_grad_() for name in ("x", "weight", "bias")}
    learned = {}
    for role, files in case["learned"].items():
        start = load(files["start"])
        learned[role] = (start.reshape(()) if start.numel() == 1 else start).requires_grad_()
    x = torch.relu(leaves["x"]) if case["relu"] else leaves["x"]
    data, data_scale = activation(case, x, learned)
    weight, weight_scale = weights(case, leaves["weight"], learned)
    unit = (data_scale * weight_scale).reshape(-1)
    bias = Round.apply(leaves["bias"] / unit) * unit
    y = data @ weight.T + bias
    y.backward(values["upstream"])
    wanted = {"y": (y.detach(), values["y"])}
    for name, path in case["gradients"].items():
        wanted["d " + name] = (leaves[name].grad, load(path))
    for role, files in case["learned"].items():
        found = load(files["gradient"])
        wanted["d " + role] = (learned[role].grad.reshape(found.shape), found)
    errors = {}
    for name, (expected, found) in wanted.items():
        norm = expected.norm().item()
        errors[name] = (expected - found).norm().item() / norm if norm > 0 else found.norm().item()
    return errors


def main():
    with open(sys.argv[1]) as file:
        cases = json.load(file)
    problems, worst = [], 0.0
    for case in cases:
        for name, error in check(case).items():
            worst = max(worst, error)
            if not error <= TOLERANCE:
                problems.append(f"{case['name']}: {name} differs by {error:.1e}")
    found = f"{len(cases)} layers, values and gradients of inputs, weights, biases and ranges within {worst:.0e}"
    print(json.dumps({"problems": problems, "found": found}))


main()
