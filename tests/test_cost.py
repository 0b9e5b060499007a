"""Memory is measured by one method; an allocation of known size shows as that."""
import json
import subprocess
import sys

import pytest

from lib.config import REPOSITORY

PROGRAM = """
import json, torch
from lib.metrics.cost import measure_memory
torch.ones(200, 200) @ torch.ones(200, 200)             # start what torch starts
with measure_memory() as memory:
    import time
    block = torch.ones({numbers})                       # float32
    time.sleep(1)
print(json.dumps([memory.peak, memory.average]))
"""


@pytest.mark.parametrize("megabytes", [40, 400])
def test_peak_and_average_of_an_allocation_of_known_size(megabytes):
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(numbers=megabytes * 250_000)], cwd=REPOSITORY,
                          capture_output=True, text=True, check=True)
    peak, average = (b / 1e6 for b in json.loads(done.stdout))
    assert peak == pytest.approx(megabytes, rel=0.03, abs=2)
    assert 0.7 * megabytes < average < 1.05 * megabytes
