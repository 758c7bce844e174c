"""A ``sae-tracks`` for scripts that call it many times: each call is a fork of a process that has imported it all.

Beside it lies a ``python`` of the same kind, for scripts and for ``-u -m``. A call is the program in everything that a
script sees: arguments, working directory, environment, the three streams and the exit status. Only the seconds of the
imports are missing. With ``DIE_AT=3`` in the environment it kills itself when it renames its third file, as a scheduler
would kill it in the middle.
"""

import importlib
import itertools
import json
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path

CLIENT = """#!{python} -ESs
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as line:
    line.connect({place!r})
    call = json.dumps([sys.argv, os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(line, [len(call).to_bytes(8, "big")], [0, 1, 2])
    line.sendall(call)
    status = int(line.recv(100) or b"70")
os.kill(os.getpid(), -status) if status < 0 else sys.exit(status)
"""


@contextmanager
def warm_command(folder: Path):
    """Write the commands ``sae-tracks`` and ``python`` into a folder, for PATH; they work while the block runs."""
    folder.mkdir(exist_ok=True)
    place = os.path.relpath(folder / "line")  # the name of a socket is short
    for command in (folder / "python", folder / "sae-tracks"):
        command.write_text(CLIENT.format(python=sys.executable, place=str(folder / "line")))
        command.chmod(0o755)
    server = subprocess.Popen([sys.executable, __file__, place], stdout=subprocess.PIPE)
    try:
        server.stdout.readline()  # it listens
        yield command
    finally:
        server.terminate()
        server.wait()
        server.stdout.close()


def torchrun(command: Path, processes: int, *words) -> subprocess.CompletedProcess:
    """``torchrun -m sae_tracks WORDS``, in which the processes that it starts cost no imports."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    where = {"PYTHON_EXEC": str(command.with_name("python")), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*launcher, "-m", "sae_tracks", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env=os.environ | where,
    )


def import_everything() -> None:
    """Import all that a verb imports, once."""
    import sae_tracks

    ours = [module.name for module in pkgutil.walk_packages(sae_tracks.__path__, "sae_tracks.")]
    drawn = ["matplotlib.backends.backend_svg", "matplotlib.backends.backend_agg"]
    for name in [*ours, "h5py", "anndata", *drawn]:
        if "triton" not in name and not name.endswith("__main__"):
            with suppress(ModuleNotFoundError):  # an optional package that is not installed
                importlib.import_module(name)


def serve(place: str) -> None:
    """Import everything, then fork for each call."""
    import_everything()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place)
        listener.listen(16)
        print("ready", flush=True)  # noqa: T201
        while True:
            line, _ = listener.accept()
            if not os.fork():
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                answer(line)
            line.close()


def answer(line: socket.socket) -> None:
    """Run one call in a process of its own, and send its exit status, below 0 for a signal."""
    from sae_tracks.cli import main

    head, streams, _, _ = socket.recv_fds(line, 8, 3)
    call = b""
    while len(call) < int.from_bytes(head, "big"):
        call += line.recv(1 << 16)
    (command, *words), cwd, environment = json.loads(call)
    if not (child := os.fork()):
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(environment)
        die_at(int(environment.get("DIE_AT", 0)))
        sys.argv = ["sae-tracks", *words]
        finish(main if Path(command).name == "sae-tracks" else python)
    _, status = os.waitpid(child, 0)
    line.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def python() -> None:
    """Run a script, or a module after ``-u -m``, as torchrun calls it."""
    sys.argv = sys.argv[1:]
    if sys.argv[:2] == ["-u", "-m"]:
        sys.argv = sys.argv[2:]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")


def finish(program) -> None:
    """Run a program and end as Python would, but at once: taking all modules apart takes seconds."""
    status = 0
    try:
        program()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if isinstance(ended.code, str):
            sys.stderr.write(f"{ended.code}\n")
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def die_at(moment: int) -> None:
    """Kill this process when it renames a file for the `moment`-th time; 0: never."""
    renames, rename = itertools.count(1), Path.replace

    def replace(path, target):
        if next(renames) == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(path, target)

    Path.replace = replace


if __name__ == "__main__":
    serve(sys.argv[1])
