"""Recipes, wrappers and workflows name what exists: options, versions, dependencies, files and make targets."""

import re
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml
from command_line import COMMANDS, run

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGING = ROOT / "packaging"
WRAPPERS = sorted(path for path in (PACKAGING / "galaxy").glob("*.xml") if path.name != "macros.xml")
IN_CONDA = {"torch": "pytorch", "pyBigWig": "pybigwig", "matplotlib": "matplotlib-base"}
COMMAND = re.compile(r"sae-tracks ([a-z-]+)")
NEEDED = {  # words without which a verb does not parse
    "export-bigwig": "sae g.fa -f 1 -o t",
    "export-bed": "sae g.fa -f 1 -o t.bed",
    "metrics": "sae g.fa t.bed -o t",
    "variants": "sae g.fa t.vcf -o t.vcf",
}
OPTION = re.compile(r"(?<![\w$-])--[a-z][a-z-]+")


def conda():
    text = (PACKAGING / "bioconda" / "meta.yaml").read_text()
    (version,) = re.findall(r'{% set version = "(.+)" %}', text)
    text = re.sub(r"{%.*%}", "", text).replace("{{ version }}", version).replace("{{ PYTHON }}", "python")
    return yaml.safe_load(re.sub(r"{{ pin_subpackage.*}}", "pinned", text)), version


def split(requirement):
    name, bounds = re.fullmatch(r"([\w.-]+) ?(\S*)", requirement).groups()
    return name, set(bounds.split(","))


def options(name):
    return {option for p in COMMANDS[name].params for option in (*p.opts, *p.secondary_opts)} | {"--help", "--version"}


def macros():
    return ET.parse(PACKAGING / "galaxy" / "macros.xml").getroot()


def command_of(wrapper):
    """The command of a wrapper, with the tokens of the macros put in."""
    text = ET.parse(wrapper).getroot().findtext("command")
    for token in macros().iter("token"):
        text = text.replace(token.get("name"), token.text)
    return text


def test_all_say_the_version_of_the_project():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    (galaxy,) = [token.text for token in macros().iter("token") if token.get("name") == "@TOOL_VERSION@"]
    assert {conda()[1], galaxy, str(citation["version"])} == {PROJECT["version"]}
    assert citation["license"] == PROJECT["license"]
    assert run("--version").stdout.split() == ["sae-tracks", PROJECT["version"]]


def test_the_conda_recipe_asks_for_what_the_project_asks_for():
    recipe, _ = conda()
    wanted = {split(line)[0]: split(line)[1] for line in recipe["requirements"]["run"]}
    assert wanted.pop("python") == set(PROJECT["requires-python"].split(","))
    asked = dict(split(re.sub(r"([<>=])", r" \1", line, count=1)) for line in PROJECT["dependencies"])
    assert wanted == {IN_CONDA.get(name, name): bounds for name, bounds in asked.items()}
    assert recipe["build"]["entry_points"] == [f"{name} = {where}" for name, where in PROJECT["scripts"].items()]
    assert recipe["about"]["license_file"] == PROJECT["license-files"]
    assert recipe["about"]["summary"] == PROJECT["description"]


@pytest.mark.parametrize("wrapper", WRAPPERS, ids=lambda path: path.stem)
def test_a_wrapper_calls_its_verb_with_options_and_values_that_exist(wrapper):
    command, root = command_of(wrapper), ET.parse(wrapper).getroot()
    (verb,) = {found for found in COMMAND.findall(command) if found != "version"}
    assert verb == wrapper.stem.replace("_", "-") and root.get("id") == f"sae_tracks_{wrapper.stem}"
    flags = {value for p in root.iter("param") for value in (p.get("truevalue"), p.get("falsevalue")) if value}
    used = set(OPTION.findall(command)) | flags
    assert used and used <= options(verb)
    for param in [*root.iter("param"), *macros().iter("param")]:
        for value in filter(None, (choice.get("value") for choice in param.findall("option"))):
            if (option := param.get("argument")) in options(verb):
                COMMANDS[verb].make_context(verb, [*NEEDED[verb].split(), option, value])


@pytest.mark.parametrize("wrapper", WRAPPERS, ids=lambda path: path.stem)
def test_a_wrapper_has_tests_on_data_that_are_there(wrapper):
    root = ET.parse(wrapper).getroot()
    assert root.findall("tests/test")
    named = [
        p.get("value")
        for test in [*root.iter("test"), *macros().iter("xml")]
        for p in test.iter("param")
        if p.get("ftype")
    ]
    assert named and all((PACKAGING / "galaxy" / "test-data" / name).is_file() for name in named)
    outputs = {output.get("name") for output in root.find("outputs")}
    assert {o.get("name") for o in root.iter("output")} <= outputs


@pytest.mark.parametrize("name", ["Dockerfile", "apptainer.def"])
def test_a_container_is_made_from_files_and_commands_that_exist(name):
    text = (PACKAGING / name).read_text()
    for verb, rest in re.findall(r"sae-tracks(?:\.sif)? (export-\w+)(.*)", text):
        assert set(re.findall(r"(?<=\s)--?[a-z][a-z-]*", rest)) <= options(verb)
    assert set(re.findall(r"^(?:RUN)?\s*sae-tracks (--\w+)", text, re.M)) <= {"--version", "--help"}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.M) or re.findall(r"^    (\S+) /src/\S+$", text, re.M)
    sources = [source for line in copied for source in line.split()]
    assert {"pyproject.toml", "src", "data", "LICENSE"} <= set(sources) and all((ROOT / s).exists() for s in sources)
    (python,) = set(re.findall(r"python:3\.(\d+)-slim", text))
    assert f"Programming Language :: Python :: 3.{python}" in PROJECT["classifiers"]
    (torch,) = set(re.findall(r'"(torch\S+)"', text))
    assert torch in PROJECT["dependencies"]


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.name)
def test_what_github_reads_is_yaml_with_its_parts(path):
    found = yaml.safe_load(path.read_text())
    assert {"jobs", "name"} <= set(found) if path.parent.name == "workflows" else {"name", "body"} <= set(found)


def test_workflows_make_targets_that_exist_on_the_versions_of_the_project():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    workflows = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / ".github" / "workflows").glob("*.yml")}
    runs = [
        step["run"] for w in workflows.values() for job in w["jobs"].values() for step in job["steps"] if "run" in step
    ]
    called = {target for line in runs for target in re.findall(r"^make (\S+)", line)}
    assert {"test", "lint", "dist"} <= called <= targets
    tested = workflows["test"]["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert {f"Programming Language :: Python :: {version}" for version in tested} <= set(PROJECT["classifiers"])
