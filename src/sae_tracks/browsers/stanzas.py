"""The text of a hub: its stanzas, each setting with its line, and what is wrong with the text as such.

The rules are those of UCSC's "Hub Track Database Definition" (genome.ucsc.edu/goldenPath/help/trackDb/trackDbHub.html)
and "Using UCSC Genome Browser Track Hubs" (hgTrackHubHelp.html).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from sae_tracks.errors import SaeTracksError

HUB = "hub.txt"
SHORT, LONG = 17, 80  # letters that UCSC shows of a short and of a long label
KINDS = ("hub", "genome", "track")  # the settings that begin a stanza
REPEATABLE = ("metadata",)


class Finding(NamedTuple):
    """A mistake in a hub."""

    path: Path
    line: int  # from 1
    error: bool  # UCSC refuses the hub or does not show the track; else it is only bad practice
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {'error' if self.error else 'warning'}: {self.text}"


class Setting(NamedTuple):
    """The value of a setting, and the line on which it begins."""

    value: str
    line: int


@dataclass(slots=True)
class Stanza:
    """Settings that stand together, in the order of the file."""

    path: Path
    line: int  # the first one, from 1
    findings: list[Finding]  # of the whole hub
    settings: dict[str, Setting] = field(default_factory=dict)  # the last one, if a name is set twice

    @property
    def kind(self) -> str:
        """Name of its first setting: ``hub``, ``genome`` or ``track`` if the hub is right."""
        return next(iter(self.settings))

    @property
    def name(self) -> str:
        """Value of its first setting."""
        return self.get(self.kind)

    def get(self, setting: str) -> str:
        """Return a value; "" if it is not set."""
        return self.settings[setting].value if setting in self.settings else ""

    def error(self, text: str, setting: str = "") -> None:
        """Add an error at the line of a setting; at the first line if it is not set."""
        self._add(text, setting, error=True)

    def warn(self, text: str, setting: str = "") -> None:
        """Add a warning at the line of a setting; at the first line if it is not set."""
        self._add(text, setting, error=False)

    def _add(self, text: str, setting: str, *, error: bool) -> None:
        line = self.settings[setting].line if setting in self.settings else self.line
        self.findings.append(Finding(self.path, line, error, text))


def read_stanzas(path: Path, findings: list[Finding]) -> list[Stanza]:
    r"""Read the stanzas of a file, and add what is wrong with its text to `findings`.

    Blank lines end a stanza. ``#`` begins a comment line. A line that ends in ``\`` continues on the next.

    Raises
    ------
    SaeTracksError
        The file cannot be read as text.
    """
    text = _read_text(path)
    if text.startswith("\ufeff"):
        findings.append(Finding(path, 1, True, "the file begins with a byte order mark: save it as UTF-8 without one"))
    if "\r" in text:
        line = text[: text.index("\r")].count("\n") + 1
        findings.append(Finding(path, line, False, "Windows line ends: save it with Unix ones"))
    stanzas: list[Stanza] = []
    within = False
    for number, line in _lines(text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")):
        if not line.strip():
            within = False
        elif not line.lstrip().startswith("#"):
            if within and line.split()[0] in KINDS:
                said = f"a blank line is missing before it: the stanza of line {stanzas[-1].line} continues here"
                findings.append(Finding(path, number, True, said))
                within = False
            if not within:
                stanzas.append(Stanza(path, number, findings))
            within = True
            _add_setting(stanzas[-1], number, line.strip())
    return stanzas


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError as error:
        raise SaeTracksError(f"no file {path}: name the hub.txt of a hub, or its folder") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SaeTracksError(f"cannot read {path} as the text of a hub: {error}") from error


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines and their numbers. A line that ends in a backslash is joined with the next."""
    first, joined = 0, ""
    for number, line in enumerate(text.split("\n"), 1):
        first = first or number
        if line.endswith("\\"):
            joined += line[:-1]
        else:
            yield first, joined + line
            first, joined = 0, ""
    if joined:
        yield first, joined


def _add_setting(stanza: Stanza, number: int, line: str) -> None:
    name, *rest = line.split(None, 1)
    before = stanza.settings.get(name)
    stanza.settings[name] = Setting(rest[0] if rest else "", number)
    if "\t" in line:
        stanza.warn("a tab: separate a setting and its value by a space", name)
    if not rest:
        stanza.error(f"{name!r} has no value", name)
    if before and name not in REPEATABLE:
        stanza.warn(f"{name!r} is set in line {before.line} already; UCSC takes one of them", name)
