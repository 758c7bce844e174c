"""Write docs/api.md from the docstrings of the public API; ``--check`` only says whether it is up to date."""

import ast
import dataclasses
import inspect
import re
import sys
import textwrap
from pathlib import Path

import sae_tracks

PAGE = Path(__file__).parent / "api.md"
INTRODUCTION = """# Python API

Written by `make docs` from the docstrings. Every name is imported from `sae_tracks` itself, for example
`from sae_tracks import Genome, load_lm`. Coordinates are 0-based half-open; shapes are given as in `(n, d_model)`.
"""


def page() -> str:
    """The whole page."""
    names = list(sae_tracks.__all__)
    contents = "\n".join(f"- [`{name}`](#{name.lower()}): {summary(getattr(sae_tracks, name))}" for name in names)
    return (
        "\n\n".join([INTRODUCTION + "\n" + contents, *(entry(name, getattr(sae_tracks, name)) for name in names)])
        + "\n"
    )


def summary(thing: object) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join(plain(inspect.getdoc(thing) or "").split("\n\n")[0].split())


def entry(name: str, thing: object) -> str:
    """The section of one function or class: signature, docstring and, of a class, its members."""
    parts = [f"## {name}", f"```python\n{signature(name, thing)}\n```", markdown(inspect.getdoc(thing) or "")]
    if dataclasses.is_dataclass(thing) and any(text for _, text in fields(thing)):
        described = [item(f"{node.target.id} : {ast.unparse(node.annotation)}", text) for node, text in fields(thing)]
        parts.append("**Attributes**\n\n" + "\n".join(described))
    if inspect.isclass(thing):
        parts += [member(name, key, value) for key, value in vars(thing).items() if is_public_member(key, value)]
    return "\n\n".join(parts)


def is_public_member(name: str, value: object) -> bool:
    """True for a method or property that has a docstring and no leading underscore."""
    return not name.startswith("_") and isinstance(value, CALLABLES) and bool(inspect.getdoc(value))


CALLABLES = (type(page), property, classmethod, staticmethod)


def member(owner: str, name: str, value: object) -> str:
    """The paragraph of a method or property."""
    heading = f"### {owner}.{name}"
    if isinstance(value, property):
        return f"{heading}\n\n{markdown(inspect.getdoc(value) or '')}"
    function = getattr(value, "__func__", value)
    return f"{heading}\n\n```python\n{signature(name, function)}\n```\n\n{markdown(inspect.getdoc(function) or '')}"


def signature(name: str, thing: object) -> str:
    """The call as it stands in the source, one parameter per line if it is long."""
    if dataclasses.is_dataclass(thing):
        return call(name, [field_text(node) for node, _ in fields(thing)], "")
    if inspect.isclass(thing):
        made = vars(thing).get("__init__")
        by_hand = made is not None and not getattr(thing, "_is_protocol", False)
        return call(name, arguments(definition(made).args), "") if by_hand else f"class {name}"
    node = definition(thing)
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return call(name, arguments(node.args), returns)


def definition(function: object) -> ast.FunctionDef:
    """The ``def`` statement of a function."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    return next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def fields(cls: type) -> list[tuple[ast.AnnAssign, str]]:
    """The fields of a dataclass that its constructor takes, each with the docstring below it (or nothing)."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0].body
    init = {field.name for field in dataclasses.fields(cls) if field.init and not field.name.startswith("_")}
    found = []
    for node, after in zip(body, [*body[1:], None]):
        if isinstance(node, ast.AnnAssign) and node.target.id in init:
            documented = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            found.append((node, inspect.cleandoc(after.value.value) if documented else ""))
    return found


def field_text(node: ast.AnnAssign) -> str:
    """A field as a parameter; a default made by a factory is shown as what the factory makes."""
    text = f"{node.target.id}: {ast.unparse(node.annotation)}"
    if node.value is None:
        return text
    factory = re.search(r"default_factory=(\w+)", ast.unparse(node.value))
    default = {"list": "[]", "dict": "{}"}.get(factory[1], f"{factory[1]}()") if factory else ast.unparse(node.value)
    return f"{text} = {default}"


def arguments(args: ast.arguments) -> list[str]:
    """The parameters of a function as text, without ``self``."""
    positional = [*args.posonlyargs, *args.args]
    defaults = [None] * (len(positional) - len(args.defaults)) + args.defaults
    texts = [parameter(arg, default) for arg, default in zip(positional, defaults)]
    if args.vararg:
        texts.append("*" + parameter(args.vararg, None))
    elif args.kwonlyargs:
        texts.append("*")
    texts += [parameter(arg, default) for arg, default in zip(args.kwonlyargs, args.kw_defaults)]
    if args.kwarg:
        texts.append("**" + parameter(args.kwarg, None))
    return texts[1:] if texts and texts[0] in ("self", "cls") else texts


def parameter(arg: ast.arg, default: ast.expr | None) -> str:
    """One parameter with its annotation and default."""
    text = arg.arg if arg.annotation is None else f"{arg.arg}: {ast.unparse(arg.annotation).strip(chr(39))}"
    if default is None:
        return text
    return f"{text} = {ast.unparse(default)}" if arg.annotation else f"{text}={ast.unparse(default)}"


def call(name: str, parameters: list[str], returns: str) -> str:
    """``name(a, b) -> c``, broken into lines if it does not fit into 100 columns."""
    line = f"{name}({', '.join(parameters)}){returns}"
    return line if len(line) <= 100 else "\n".join([f"{name}(", *(f"    {p}," for p in parameters), f"){returns}"])


def plain(text: str) -> str:
    """Double backticks and single ones alike as Markdown's single ones."""
    return text.replace("``", "`")


def markdown(docstring: str) -> str:
    """A numpy-style docstring as Markdown: sections as bold heads, their items as lists, examples as code."""
    head, *sections = re.split(r"^(?=[A-Z][a-z]+\n-{3,}$)", docstring, flags=re.MULTILINE)
    return "\n\n".join([plain(head.strip()), *(section(text) for text in sections)]).strip()


def section(text: str) -> str:
    """One section of a numpy-style docstring."""
    title, _, body = text.split("\n", 2)
    body = textwrap.dedent(body).strip()
    if title == "Examples":
        return f"**Examples**\n\n```python\n{body}\n```"
    if title == "Notes":
        return f"**Notes**\n\n{plain(body)}"
    return f"**{title}**\n\n" + "\n".join(item(*pair) for pair in items(body))


def items(body: str) -> list[tuple[str, str]]:
    """The (head, description) pairs of a section: descriptions are indented below their heads."""
    pairs: list[tuple[str, list[str]]] = []
    for line in body.splitlines():
        if line and not line.startswith(" "):
            pairs.append((line, []))
        elif line:
            pairs[-1][1].append(line.strip())
    return [(head, " ".join(lines)) for head, lines in pairs]


def item(head: str, description: str) -> str:
    """One list item; ``name : type`` is set as code and text."""
    name, colon, kind = head.partition(" : ")
    text = f"- `{name}` : {plain(kind)}" if colon else f"- {plain(head)}"
    return f"{text}. {' '.join(plain(description).split())}" if description else text


if __name__ == "__main__":
    text = page()
    if "--check" in sys.argv:
        sys.exit(0 if PAGE.is_file() and PAGE.read_text() == text else f"{PAGE.name} is out of date: run `make docs`")
    PAGE.write_text(text)
