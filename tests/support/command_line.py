"""The command line as a user calls it: in this process, or as a program where the process itself is tested."""

import contextlib
import io
import logging
import os
import subprocess
import sys
import traceback
import warnings

import click
import numba
import torch

from sae_tracks.cli import main
from sae_tracks.cli.app import command as program


def run(*words, cwd=None, env=None):
    """What ``sae-tracks WORDS`` prints and its exit status, without the seconds that a new process takes to import.

    Arguments, working directory, environment, log handlers, warnings and threads are those of a new process during the
    call, and those of the caller after it. What a library reads from the environment when it is imported does not
    change: such tests use `run_program`.

    Parameters
    ----------
    *words : str or path
    cwd : path, optional
    env : dict of str to str, optional
        The whole environment, as for `subprocess.run`.
    """
    words = ["sae-tracks", *map(str, words)]
    out, err = _text(), _text()
    with _new_process(words, cwd, env), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = _status(main)
    return subprocess.CompletedProcess(words, status, _read(out), _read(err))


def run_program(*words, **how):
    """The same in a process of its own; `how` goes to `subprocess.run`."""
    command = [sys.executable, "-m", "sae_tracks", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **how)


def _text():
    return io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)


def _read(file):
    return file.buffer.getvalue().decode()


@contextlib.contextmanager
def _new_process(words, cwd, env):
    root, ours = logging.getLogger(), logging.getLogger("sae_tracks")
    argv, environment, handlers, levels = sys.argv, dict(os.environ), root.handlers, (root.level, ours.level)
    threads, gradients = (torch.get_num_threads(), numba.get_num_threads()), torch.is_grad_enabled()
    sys.argv, root.handlers = words, []
    if env is not None:
        _replace_environment(env)
    try:
        with contextlib.chdir(cwd or "."), warnings.catch_warnings():
            warnings.resetwarnings()
            for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
                warnings.simplefilter("ignore", kind)
            warnings.showwarning = lambda *shown, **_: sys.stderr.write(warnings.formatwarning(*shown[:4]))
            yield
    finally:
        sys.argv, root.handlers = argv, handlers
        root.setLevel(levels[0])
        ours.setLevel(levels[1])
        _replace_environment(environment)
        torch.set_num_threads(threads[0])
        numba.set_num_threads(threads[1])
        torch.set_grad_enabled(gradients)


def _replace_environment(variables):
    os.environ.clear()
    os.environ.update(variables)


def _status(program):
    """The exit status that Python gives a program, which prints what it has to on stderr."""
    try:
        program()
    except SystemExit as ended:
        if isinstance(ended.code, str):
            sys.stderr.write(f"{ended.code}\n")
        return int(isinstance(ended.code, str)) or ended.code or 0
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def commands():
    """Every verb with the words that call it."""

    def walk(command, words):
        if isinstance(command, click.Group) or hasattr(command, "commands"):
            for name, sub in command.commands.items():
                yield from walk(sub, [*words, name])
        else:
            yield " ".join(words), command

    return dict(walk(program, []))


COMMANDS = commands()
