"""Every command that the pages show is one that the programs take."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from ruamel.yaml import YAML

from services.local.cli import app

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted(
    [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/*.yml"), *ROOT.glob("*.yml")]
)


def shown(program: str) -> Iterator[tuple[str, str]]:
    """Yield page and command of every line in a block of shell, and of every code span, that calls the program."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        blocks = re.findall(r"^```(?:sh|bash|console)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        lines = [line for block in blocks for line in re.sub(r"\\\n\s*", " ", block).splitlines()]
        spans = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)
        if page.suffix == ".yml":
            lines = [line.partition("#")[2] for line in text.splitlines() if line.startswith("#")]
        for line in [*lines, *spans]:
            for part in re.split(r"\s*(?:&&|;|\|)\s+", line.partition("  #")[0].strip()):
                words = re.sub(r"^(?:[A-Z_]+=\S+ )*(?:sudo )?", "", part)
                if words.startswith(f"{program} "):
                    yield str(page.relative_to(ROOT)), words


def split(command: str) -> list[str]:
    return shlex.split(command.replace("…", "x"), comments=True)


CLIPWATCH = sorted(set(shown("clipwatch")))
COMPOSE = sorted(set(shown("docker compose")))
PYTHON = sorted(set(shown("python")) | set(shown("python3")))


def test_the_pages_show_commands_at_all() -> None:
    assert len(CLIPWATCH) > 15
    assert len(COMPOSE) > 10


@pytest.mark.parametrize(("page", "command"), CLIPWATCH)
def test_clipwatch_takes_what_is_shown(page: str, command: str) -> None:
    found: Any = typer.main.get_command(app)  # Any: typer carries a click of its own
    _, *words = split(command)
    name = "clipwatch"
    while hasattr(found, "get_command"):
        context = found.make_context(name, ["x"], resilient_parsing=True)
        name = words.pop(0)
        found = found.get_command(context, name)
        assert found is not None, f"{page}: clipwatch has no {name}"
        if not words:
            return  # named, not called
    if "[" not in command:  # brackets: a synopsis
        found.make_context(name, words)
    for option in re.findall(r"--[a-z-]+", command):
        assert option in {name for given in found.params for name in given.opts}, f"{page}: {option}"


@pytest.mark.parametrize(("page", "command"), COMPOSE)
def test_compose_knows_the_services_that_are_named(page: str, command: str) -> None:
    words = split(command)[2:]
    while words and words[0].startswith("-"):
        words = words[2:] if words[0] in ("-f", "-p", "--profile", "--env-file") else words[1:]
    known = set(YAML(typ="safe").load((ROOT / "docker-compose.yml").read_text())["services"])
    if words[:1] in (["exec"], ["logs"], ["restart"], ["stop"], ["build"]):
        named = [word for word in words[1:] if re.fullmatch(r"[a-z]+", word)]
        assert not named or named[0] in known, f"{page}: no service {named[0]}"


@pytest.mark.parametrize(("page", "command"), PYTHON)
def test_modules_and_scripts_that_are_run_are_there(page: str, command: str) -> None:
    words = split(command)[1:]
    if words[:1] == ["-m"]:
        assert importlib.util.find_spec(words[1]) is not None, f"{page}: {words[1]}"
    elif words and words[0].endswith(".py"):
        assert (ROOT / words[0]).exists() or words[0].startswith("/"), f"{page}: {words[0]}"
