"""A ``sae-tracks`` for scripts that call it many times: each call is a fork of a process that has imported it all.

Beside it lies a ``python`` of the same kind, for scripts, ``-c``, ``-m`` and the standard input. A call is the program
in everything that a script sees: arguments, working directory, environment, the three streams, the limit of the size of
files, signals and the exit status. Only the seconds of the imports are missing. With ``DIE_AT=3`` in the environment it
kills itself when it renames its third file, as a scheduler would kill it in the middle.

What a library reads from the environment when it is imported is that of the call too, for the libraries of the hub.
"""

import gc
import importlib
import itertools
import json
import os
import pkgutil
import resource
import runpy
import signal
import socket
import subprocess
import sys
import threading
import traceback
import types
from contextlib import contextmanager, suppress
from pathlib import Path

CLIENT = """#!{python} -ESs
import json, os, resource, signal, socket, sys
with socket.socket(socket.AF_UNIX) as line:
    line.connect({place!r})
    call = json.dumps([sys.argv, os.getcwd(), dict(os.environ), resource.getrlimit(resource.RLIMIT_FSIZE)]).encode()
    socket.send_fds(line, [len(call).to_bytes(8, "big")], [0, 1, 2])
    line.sendall(call)
    process = int.from_bytes(line.recv(8), "big")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP) if process else ():
        signal.signal(number, lambda number, _: os.kill(process, number))
    status = int(line.recv(100) or b"70")
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
os.kill(os.getpid(), -status) if status < 0 else sys.exit(status)
"""
HUB = ("huggingface_hub", "transformers")  # they read the environment when they are imported
OPTIONAL = ("h5py", "anndata", "matplotlib.backends.backend_svg", "matplotlib.backends.backend_agg")


@contextmanager
def warm_command(folder: Path):
    """Write the commands ``sae-tracks`` and ``python`` into a folder, for PATH; they work while the block runs."""
    folder.mkdir(exist_ok=True)
    place = os.path.relpath(folder / "line")  # the name of a socket is short
    for command in (folder / "python", folder / "sae-tracks"):
        command.write_text(CLIENT.format(python=sys.executable, place=str(folder / "line")))
        command.chmod(0o755)
    server = subprocess.Popen([sys.executable, __file__, place], stdout=subprocess.PIPE, start_new_session=True)
    try:
        server.stdout.readline()  # it listens
        yield command
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()
        server.stdout.close()


def torchrun(command: Path, processes: int, *words) -> subprocess.CompletedProcess:
    """``torchrun WORDS``, of which neither the launcher nor the processes that it starts cost imports."""
    with start_torchrun(command, processes, *words) as launcher:
        try:
            out, said = launcher.communicate(timeout=600)
        except subprocess.TimeoutExpired:
            launcher.kill()
            raise
    return subprocess.CompletedProcess(launcher.args, launcher.returncode, out, said)


def start_torchrun(command: Path, processes: int, *words) -> subprocess.Popen:
    """The launcher of it, which runs."""
    python = str(command.with_name("python"))
    launcher = [python, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    where = {"PYTHON_EXEC": python, "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.Popen([*launcher, *map(str, words)], env=os.environ | where, **pipes)


def import_everything() -> None:
    """Import all that a verb imports, once."""
    import sae_tracks

    ours = [module.name for module in pkgutil.walk_packages(sae_tracks.__path__, "sae_tracks.")]
    for name in [*ours, *OPTIONAL, *HUB]:
        if "triton" not in name and not name.endswith("__main__"):
            with suppress(ModuleNotFoundError):  # an optional package that is not installed
                importlib.import_module(name)
    with suppress(ImportError):  # of another version
        from transformers.conversion_mapping import get_checkpoint_conversion_mapping

        get_checkpoint_conversion_mapping("none")  # compiles the patterns of all kinds of model


def serve(place: str) -> None:
    """Listen, import everything, and answer each call in a process of its own, for ever."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, and a call would not end
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place)
        listener.listen(16)
        print("ready", flush=True)  # noqa: T201
        import_everything()
        gc.freeze()  # no call looks for garbage in what was imported
        while True:
            line, _ = listener.accept()
            if not os.fork():
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                answer(line)
            line.close()


def answer(line: socket.socket) -> None:
    """Run one call in a process of its own; send its number and, when it ends, its status, below 0 for a signal."""
    head, streams, _, _ = socket.recv_fds(line, 8, 3)
    call = b""
    while len(call) < int.from_bytes(head, "big"):
        call += line.recv(1 << 16)
    if not (child := os.fork()):
        run(streams, *json.loads(call))
    for stream in streams:
        os.close(stream)
    line.sendall(child.to_bytes(8, "big"))
    threading.Thread(target=kill_with_the_client, args=(line, child), daemon=True).start()
    _, status = os.waitpid(child, 0)
    with suppress(BrokenPipeError):
        line.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def kill_with_the_client(line: socket.socket, child: int) -> None:
    """A client that is killed hears nothing more, and its call ends as it did."""
    line.recv(1)
    with suppress(ProcessLookupError):  # it has ended
        os.kill(child, signal.SIGKILL)


def run(streams: list[int], argv: list[str], cwd: str, environment: dict[str, str], sizes: list[int]) -> None:
    """Be the process of a call."""
    from sae_tracks.cli import main

    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(cwd)
    of_the_hub = settings_of_the_hub()
    os.environ.clear()
    os.environ.update(environment)
    if settings_of_the_hub() != of_the_hub:
        read_settings_again()
    resource.setrlimit(resource.RLIMIT_FSIZE, sizes)
    die_at(int(environment.get("DIE_AT", 0)))
    command, *words = argv
    sys.argv = ["sae-tracks", *words]
    finish(main if Path(command).name == "sae-tracks" else python)


def settings_of_the_hub() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("HF_")}


def read_settings_again() -> None:
    """Give the libraries of the hub the settings that they would have if they were imported now."""
    constants = importlib.reload(importlib.import_module("huggingface_hub.constants"))
    known = {name: value for name, value in vars(constants).items() if name.isupper()}
    known["HF_MODULES_CACHE"] = os.environ.get("HF_MODULES_CACHE", f"{constants.HF_HOME}/modules")
    for name, module in list(sys.modules.items()):
        if name.startswith(HUB):
            vars(module).update({setting: value for setting, value in known.items() if setting in vars(module)})


def python() -> None:
    """Run a script, a module after ``-m``, or code after ``-c`` or from the standard input."""
    del sys.argv[0]
    if sys.argv[0] == "-u":
        del sys.argv[0]
    kind = sys.argv[0]
    first = {"-c": "", "-": "", "-m": str(Path.cwd())}.get(kind, str(Path(kind).parent))
    own = [first, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    sys.path[:] = [*own, *(path for path in sys.path[1:] if path not in own)]
    if kind == "-m":
        del sys.argv[0]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    elif kind in ("-c", "-"):
        code = sys.argv.pop(1) if kind == "-c" else sys.stdin.read()
        sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(code, "<string>", "exec"), vars(sys.modules["__main__"]))
    else:
        runpy.run_path(kind, run_name="__main__")


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
