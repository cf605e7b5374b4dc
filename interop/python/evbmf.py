"""EVBMF and AMCT's ranks, from the formulas, with scipy's bounded search; compared with Whittle's on given spectra.

Formulas: Nakajima et al., "Global analytic solution of fully-observed variational Bayesian matrix factorization", JMLR
14, 2013; clamp and rounding as AMCT documents and publishes them.
"""

import json
import math
import sys

import numpy as np
from scipy.optimize import fminbound


def evbmf_rank(s, rows, cols):
    small, large = min(rows, cols), max(rows, cols)
    alpha = small / large
    tau_bar = 2.5129 * math.sqrt(alpha)
    x_bar = (1 + tau_bar) * (1 + alpha / tau_bar)
    e = min(math.ceil(small / (1 + alpha)) - 1, small) - 1
    upper = np.sum(s**2) / (small * large)
    lower = max(s[e + 1] ** 2 / (large * x_bar), np.mean(s[e:] ** 2) / large)

    def objective(variance):
        z = s**2 / (large * variance)
        noise, signal = z[z <= x_bar], z[z > x_bar]
        tau = 0.5 * (signal - (1 + alpha) + np.sqrt((signal - (1 + alpha)) ** 2 - 4 * alpha))
        return (
            np.sum(noise - np.log(noise))
            + np.sum(signal - tau)
            + np.sum(np.log((tau + 1) / signal))
            + alpha * np.sum(np.log(tau / alpha + 1))
        )

    variance = fminbound(objective, lower, upper, xtol=1e-5, maxfun=500)
    return int(np.sum(s > math.sqrt(large * variance * x_bar)))


def amct_rank(raw, length, channels):
    divisor = 4 if channels >= 256 else 6
    rank = min(max(raw, length // (divisor + 1)), length // divisor)
    rounded = max(16, int((rank + 8) // 16) * 16)
    if rounded < 0.9 * rank:
        rounded += 16
    return min(rounded, length)


with open(sys.argv[1], encoding='utf-8') as file:
    cases = json.load(file)
wrong = []
for case in cases:
    s = np.array(case['values'])
    raw = evbmf_rank(s, case['rows'], case['cols'])
    final = amct_rank(raw, len(s), case['channels'])
    if (raw, final) != (case['raw'], case['amct']):
        wrong.append(f"{case['name']}: scipy {raw} and {final}, Whittle {case['raw']} and {case['amct']}")
used = sorted({case['raw'] for case in cases})
print(json.dumps({'problems': wrong, 'found': f'{len(cases)} spectra, raw ranks {used[0]} to {used[-1]}, all equal'}))
