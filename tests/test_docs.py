"""The documents are run: examples work, and every command and codec stands in README."""

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from vecstore import registry
from vecstore.cli.main import main
from vecstore.errors import VecstoreError

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    page
    for page in [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
    if page.stat().st_size
]
README = (ROOT / "README.md").read_text("utf-8")


def name_of(page):
    return str(page.relative_to(ROOT))


def blocks(page, language):
    """Fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S)


@pytest.fixture
def shell(tmp_path):
    """Runs lines of bash in an empty folder, where `vecstore` is this one."""
    tools = tmp_path / "bin"
    tools.mkdir()
    program = tools / "vecstore"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m vecstore "$@"\n')
    program.chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}

    def run(lines):
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", lines], cwd=work, env=environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip

    return run


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_shell_examples_work(page, shell):
    for block in blocks(page, "sh"):
        done = shell(block)
        assert done.returncode == 0, f"{block}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_examples_work(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "example"}
    for block in blocks(page, "python"):
        if "vecstore.train.torch" in block:
            pytest.importorskip("torch", reason="the example trains by torch")
        exec(compile(block, name_of(page), "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


def commands(group, path="vecstore"):
    for name, command in group.commands.items():
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")


COMMANDS = dict(commands(main))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_stands_in_readme_and_has_help_with_an_example(name):
    assert f"`{name}" in README
    help_text = COMMANDS[name].help
    assert help_text
    if not isinstance(COMMANDS[name], click.Group):
        assert f"Example: {name}" in help_text
    for option in COMMANDS[name].params:
        assert option.name == "dtype" or isinstance(option, click.Argument) or option.help, option.name


def test_every_codec_and_transform_stands_in_readme_with_its_options():
    for name, part in {**registry.CODECS, **registry.TRANSFORMS, **registry.FIRST}.items():
        rows = [line for line in README.splitlines() if re.match(rf"\|.*`{name}[`:]", line)]
        assert rows, f"{name} has no line in README"
        for option in part.option_names():
            assert option == "bytes" or f"{option}=" in rows[0], f"{name}: {option}= is not in its line"


def test_every_exit_code_stands_in_readme():
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.M)}
    kinds = [kind for kind in VecstoreError.__subclasses__() if kind.__module__ == "vecstore.errors"]
    assert {0, 1, 130} | {kind.exit_code for kind in kinds} <= codes


@pytest.mark.parametrize("kind", ["bash", "zsh", "fish"])
def test_a_shell_can_complete_commands_and_options(kind, shell):
    script = shell(f"vecstore completion {kind}")
    assert script.returncode == 0 and "_VECSTORE_COMPLETE" in script.stdout
    word = "decom" if kind == "fish" else "1"
    done = shell(f"COMP_WORDS='vecstore decom' COMP_CWORD={word} _VECSTORE_COMPLETE={kind}_complete vecstore")
    assert "decompress" in done.stdout, done.stderr
