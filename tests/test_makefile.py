"""What `make bench` would run: commands that there are, records where they belong."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from vecstore.cli.main import main

ROOT = Path(__file__).parents[1]


def commands(*options):
    """Lines of the recipe, parted into words."""
    if shutil.which("make") is None:
        pytest.skip("there is no make here")
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", "bench", *options], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.replace("\\\n", " ").partition("\nmkdir -p")[2].splitlines()[1:]
    return [shlex.split(line) for line in lines]


def understood(words):
    """The command and the options that the parser of a `vecstore` command makes of words."""
    command, rest = main, words[1:]
    while hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    return command.name, command.make_context(command.name, rest).params


@pytest.mark.parametrize("quick", [False, True])
def test_every_task_is_measured_and_all_records_are_reported(quick):
    ours = [understood(words) for words in commands(*["QUICK=1"] * quick) if words[0].endswith("/vecstore")]
    names = [name for name, _ in ours]
    assert names == ["codecs", "scan", "store", "tables", "tables", "vectors", "limit", "report"]
    folder = "build/bench" if quick else "docs/benchmarks"
    for _, options in ours[:-1]:
        assert options["quick"] is quick and str(options["out"]).startswith(f"{folder}/")
    assert [str(options["out"]) for _, options in ours[-1:]] == [f"{folder}/report.html"]


def test_a_quick_run_leaves_kept_records_and_readme_alone():
    text = " ".join(" ".join(words) for words in commands("QUICK=1"))
    assert "docs/" not in text and "fill_readme" not in text
    kept = " ".join(" ".join(words) for words in commands())
    assert "fill_readme" in kept and not re.search(r"--quick|build/", kept)
