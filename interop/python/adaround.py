# AdaRound in PyTorch, written from the paper (arXiv 2004.10568, equations 21 to 24) and run on the rows that Whittle's
# optimisation ran on: the same start, the same one batch, Adam with torch's own defaults.
import json
import sys

import numpy as np
import torch

torch.set_num_threads(1)
ZETA, GAMMA = 1.1, -0.1


def learn(case):
    x, y = (torch.from_numpy(np.load(case[name]).astype(np.float32)) for name in ("inputs", "outputs"))
    weight = torch.from_numpy(np.load(case["weight"]).astype(np.float32))
    step = case["step"]
    lower = torch.floor(weight / step)
    fraction = weight / step - lower
    alpha = torch.nn.Parameter(-torch.log((ZETA - GAMMA) / (fraction - GAMMA) - 1))
    optimizer = torch.optim.Adam([alpha], lr=case["rate"])
    steps, warm, (first, last) = case["steps"], case["warm"], case["betas"]
    target = torch.relu(y)
    losses = []
    for i in range(steps):
        h = torch.clamp(torch.sigmoid(alpha) * (ZETA - GAMMA) + GAMMA, 0, 1)
        out = torch.relu(x @ ((lower + h) * step).T)
        loss = ((out - target) ** 2).sum(1).mean()
        losses.append(loss.item())
        if i >= warm * steps:
            done = (i - warm * steps) / (steps - warm * steps)
            beta = last + 0.5 * (first - last) * (1 + np.cos(np.pi * done))
            loss = loss + case["strength"] * (1 - (2 * h - 1).abs() ** beta).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    h = torch.clamp(torch.sigmoid(alpha) * (ZETA - GAMMA) + GAMMA, 0, 1)
    hard = (lower + (h >= 0.5)) * step
    found = ((torch.relu(x @ hard.T) - target) ** 2).sum(1).mean().item()
    return losses, found


problems, reductions = [], []
for case in json.load(open(sys.argv[1])):
    losses, found = learn(case)
    ours = np.array(case["losses"])
    theirs = np.array(losses)
    apart = float(np.max(np.abs(ours - theirs)) / np.max(theirs))
    about = (
        f"{case['name']}: loss {case['nearest']:.5f} to nearest, {case['found']:.5f} ours, {found:.5f} PyTorch; "
        f"losses on the way differ by {apart:.1e} of the largest"
    )
    if apart >= 0.05 or case["found"] / found - 1 >= 0.03:
        problems.append(about)
    reductions.append(case["found"] / case["nearest"])
print(
    json.dumps(
        {
            "problems": problems,
            "found": f"{len(reductions)} layers, losses {min(reductions):.2f} to {max(reductions):.2f} of nearest's, as PyTorch's",
        }
    )
)
