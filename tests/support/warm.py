"""A ``sae-tracks`` for scripts that call it many times: each call is a fork of a process that has imported it all.

A call is the program in everything that a script sees: arguments, working directory, environment, the three streams and
the exit status. Only the seconds of the imports are missing. With ``DIE_AT=3`` in the environment it kills itself when
it renames its third file, as a scheduler would kill it in the middle.
"""

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from contextlib import contextmanager
from pathlib import Path

CLIENT = """#!{python} -ESs
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as line:
    line.connect({place!r})
    call = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(line, [len(call).to_bytes(8, "big")], [0, 1, 2])
    line.sendall(call)
    status = int(line.recv(100) or b"70")
os.kill(os.getpid(), -status) if status < 0 else sys.exit(status)
"""


@contextmanager
def warm_command(folder: Path):
    """Write the command ``sae-tracks`` into a folder, for PATH; it works while the block runs."""
    folder.mkdir(exist_ok=True)
    place = os.path.relpath(folder / "line")  # the name of a socket is short
    command = folder / "sae-tracks"
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


def serve(place: str) -> None:
    """Import everything, then fork for each call."""
    global sae_tracks
    import sae_tracks.cli
    import sae_tracks.controls.score
    import sae_tracks.lm
    import sae_tracks.train.train

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
    head, streams, _, _ = socket.recv_fds(line, 8, 3)
    call = b""
    while len(call) < int.from_bytes(head, "big"):
        call += line.recv(1 << 16)
    words, cwd, environment = json.loads(call)
    if not (child := os.fork()):
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["sae-tracks", *words]
        die_at(int(environment.get("DIE_AT", 0)))
        finish(sae_tracks.cli.main)
    _, status = os.waitpid(child, 0)
    line.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def finish(program) -> None:
    """Run a program and end as Python would, but at once: taking all modules apart takes seconds."""
    status = 0
    try:
        program()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
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
