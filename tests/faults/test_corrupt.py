"""A bounded form of the attack of ``corrupt.py``: each kind of input, with mutations drawn from a fixed seed."""

import re
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).with_name("corrupt.py")
QUICK = r"^(sae|act|part|tracks1|scores1|saelens|sparsify|trainer|losses|motifs|sites)"


def test_a_command_ends_well_or_says_in_one_line_why_not(warm_python):
    words = [warm_python, str(SCRIPT), "--cases", "75", "--only", QUICK]
    found = subprocess.run(words, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    assert int(re.search(r"(\d+) tried", found.stdout)[1]) > 60
    assert int(re.search(r"(\d+) refused", found.stdout)[1]) > 20
