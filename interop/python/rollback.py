"""AMCT's own strategy and similarity beside ours.

usage: rollback.py CHECKOUT CASES.json; a case has `ranking` (layer to similarity), `holds` (numbers of rolled back layers
that satisfy) and `steps` (the layers that ours leaves quantized, step by step, and whether it stops); `similarities` are
pairs of outputs with our answer.
"""

import contextlib
import importlib
import io
import json
import os
import sys
import types

import numpy as np

package = types.ModuleType('auto_calibration')
package.__path__ = [
    os.path.join(sys.argv[1], 'amct_pytorch', 'classic', 'graph_based', 'common', 'auto_calibration')
]
sys.modules['auto_calibration'] = package
strategy = importlib.import_module('auto_calibration.binary_search_strategy')
sensitivity = importlib.import_module('auto_calibration.cosine_similarity_sensitivity')
# It makes numbers of one-element matrices, which numpy no longer does.
sensitivity.float = lambda matrix: np.asarray(matrix).item()

with open(sys.argv[2], encoding='utf-8') as file:
    cases = json.load(file)

problems = []
for number, case in enumerate(cases['searches']):
    search = strategy.BinarySearchStrategy()
    search.initialize(case['ranking'])
    satisfied = False
    for step in case['steps']:
        answer = search.update_quant_config((satisfied, 0.0))
        quantized = sorted(name for name, stays in answer['roll_back_config'].items() if stays)
        if quantized != sorted(step['quantized']) or answer['stop_flag'] != step['stop']:
            problems.append(f'search {number}: AMCT {quantized}, stop {answer["stop_flag"]}; ours {step}')
            break
        satisfied = len(case['ranking']) - len(quantized) in case['holds']

worst = 0.0
for case in cases['similarities']:
    with contextlib.redirect_stdout(io.StringIO()):
        expected = sensitivity.CosineSimilaritySensitivity().compare(
            np.asarray(case['reference']), np.asarray(case['other'])
        )
    worst = max(worst, abs(float(expected) - case['similarity']))
if worst > 1e-12:
    problems.append(f'similarities differ by {worst:.1e}')

found = f"{len(cases['searches'])} searches step by step, {len(cases['similarities'])} similarities within {worst:.0e}"
print(json.dumps({'problems': problems[:3], 'found': found}))
