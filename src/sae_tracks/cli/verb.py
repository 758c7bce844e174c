"""How a function becomes a verb of ``sae-tracks``."""

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import fields, is_dataclass
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, get_args, get_type_hints

import typer

from sae_tracks import __version__
from sae_tracks.errors import Terminated, UsageError

RESUMES = "The same command continues an interrupted run."
app = typer.Typer(
    name="sae-tracks",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"sae-tracks {__version__}")
        raise typer.Exit


@app.callback(epilog="Every verb takes --debug: it prints the traceback of an error.")
def sae_tracks(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Turn sparse autoencoder (SAE) features of gene language models into genome tracks, and score them."""


class ClosedPipe(Exception):
    """Nobody reads stdout any more. Typer would end the program itself at a `BrokenPipeError`."""


class Stopped(Exception):
    """Ctrl-C or SIGTERM ended a verb. Typer would end the program itself, in silence, at a `KeyboardInterrupt`."""

    def __init__(self, cause: KeyboardInterrupt, *, resumes: bool) -> None:
        self.terminated = isinstance(cause, Terminated)
        way = "by SIGTERM" if self.terminated else "by Ctrl-C"
        again = "goes on from where it stopped" if resumes else "begins from the start"
        super().__init__(f"stopped {way}: the same command {again}")


class Given(dict[str, str]):
    """The options that the user gave on the command line: parameter name to flag."""

    stating_defaults: frozenset[str] = frozenset()  # those given with the value that they have anyway

    def refuse_if(self, mode: object, because: str, *names: str) -> None:
        """Raise a usage error if, in this mode, an option was given that would do nothing."""
        said = set(names) - self.stating_defaults
        if mode and (flags := [flag for name, flag in self.items() if name in said]):
            raise UsageError(f"{because}: leave out {', '.join(flags)}")


def verb(
    epilog: str,
    *,
    panel: str | None = None,
    group: typer.Typer = app,
    without: Iterable[str] = (),
    resumes: bool = False,
) -> Callable:
    """Return a decorator that adds a function to the command line under the function's name.

    A parameter whose type is a dataclass of options, such as `ReadingOptions`, stands for the fields of that dataclass.
    The help shows them under its HEADING. A parameter of type `Given` gets the options that the user gave.

    Parameters
    ----------
    epilog : str
        The last lines of the help: an example.
    panel : str, optional
        Heading in the list of verbs.
    group : Typer
        For a verb of two words, the group of the first word.
    without : iterable of str
        Fields that the verb does not offer; they keep their defaults.
    resumes : bool
        Whether the same command continues an interrupted run. The help says so, and what is said when it is stopped.
    """

    def decorate(function: Callable) -> Callable:
        parameters = signature(function, eval_str=True).parameters.values()
        groups = {p.name: _offered(p.annotation, set(without)) for p in parameters if is_dataclass(p.annotation)}
        plain = [p.replace(kind=Parameter.KEYWORD_ONLY) for p in parameters if p.annotation is not Given]
        flat = [one for p in plain for one in groups.get(p.name, [p])]

        def call(typer_context: typer.Context, **words: Any) -> Any:
            for p in parameters:
                if p.name in groups:
                    words[p.name] = p.annotation(**{field.name: words.pop(field.name) for field in groups[p.name]})
                elif p.annotation is Given:
                    words[p.name] = _given(typer_context)
            try:
                with _sigterm_raises():
                    return function(**words)
            except KeyboardInterrupt as error:
                to_stdout = str(words.get("out")) == "-"  # what was written is gone down the pipe
                raise Stopped(error, resumes=resumes and not to_stdout) from error
            except BrokenPipeError as error:
                raise ClosedPipe from error

        call.__name__, call.__module__ = function.__name__, function.__module__
        call.__doc__ = f"{function.__doc__}\n\n    {RESUMES}" if resumes else function.__doc__
        context = Parameter("typer_context", Parameter.KEYWORD_ONLY, annotation=typer.Context)
        call.__dict__["__signature__"] = Signature([context, *flat])
        group.command(epilog=epilog, rich_help_panel=panel)(call)
        return function

    return decorate


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Let SIGTERM raise `Terminated`, as Ctrl-C raises `KeyboardInterrupt`, unless the parent ignores it."""

    def terminate(*_: object) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _offered(group: Any, left_out: set[str]) -> list[Parameter]:
    """Return the fields of a dataclass of options as parameters, which the help shows under the group's heading."""
    hints, offered = get_type_hints(group, include_extras=True), []
    for field in fields(group):
        if field.name not in left_out:
            kind, option = get_args(hints[field.name])
            option = copy(option)
            option.rich_help_panel = group.HEADING
            default, annotation = field.default, Annotated[kind, option]
            offered.append(Parameter(field.name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation))
    return offered


def _given(context: typer.Context) -> Given:
    """The options on the command line, with the first flag of each."""
    options = {p.name: p for p in context.command.params if p.name}
    sources = {name: context.get_parameter_source(name) for name in options}
    written = [name for name, source in sources.items() if source and source.name == "COMMANDLINE"]
    given = Given({name: options[name].opts[0] for name in written})
    given.stating_defaults = frozenset(name for name in written if context.params[name] == options[name].default)
    return given
