"""The ``python`` whose calls cost no imports does what Python does."""

import os
import signal
import subprocess
import sys

import pytest

CODE = "import os, sys; print(sys.argv[1:], sys.path[:2], os.getcwd(), __name__, os.environ['MARK'], sys.stdin.read())"
SCRIPT = "import os, sys\nprint(sys.argv, sys.path[:2], os.getcwd(), __name__)\nsys.exit('a word')\n"
CALLS = [
    (["-c", CODE, "a", "-u"], ""),
    (["-", "a"], "import sys; print(sys.argv, __name__); sys.exit(3)"),
    (["-u", "-m", "own", "a"], ""),
    (["folder/own.py", "a"], ""),
    (["-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"], ""),
    (["-c", "import resource; print(resource.getrlimit(resource.RLIMIT_FSIZE))"], ""),
]


@pytest.mark.parametrize(("words", "given"), CALLS)
def test_a_call_prints_and_ends_as_pythons(warm_python, tmp_path, words, given):
    (tmp_path / "folder").mkdir()
    for file in (tmp_path / "own.py", tmp_path / "folder" / "own.py"):
        file.write_text(SCRIPT)
    how = {"input": given, "capture_output": True, "text": True, "cwd": tmp_path}
    environment = os.environ | {"MARK": "x", "PYTHONPATH": f"{tmp_path}/more"}
    ours, theirs = (
        subprocess.run(
            ["bash", "-c", 'ulimit -f 4000; exec "$@"', "-", python, *words], check=False, env=environment, **how
        )
        for python in (warm_python, sys.executable)
    )
    assert (ours.returncode, ours.stderr) == (theirs.returncode, theirs.stderr)
    assert ours.stdout.replace(f"{tmp_path}/folder", "folder") == theirs.stdout.replace(f"{tmp_path}/folder", "folder")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_signal_ends_the_call(warm_python, number):
    code = "import time; print('begun', flush=True); time.sleep(600)"
    with subprocess.Popen([warm_python, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        assert process.communicate(timeout=60)[0] == ""  # the call holds the pipe until it ends
    assert process.returncode == -number


def test_the_hub_is_that_of_the_call(warm_python, tmp_path):
    code = "from huggingface_hub import constants; print(constants.HF_HOME)"
    environment = os.environ | {"HF_HOME": str(tmp_path)}
    done = subprocess.run([warm_python, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == f"{tmp_path}\n", done.stderr
