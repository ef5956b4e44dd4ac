"""What is installed: every module, and nothing else beside it."""

import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The built wheel, from a copy of the sources, so that nothing is left in the checkout."""
    try:
        found = version("setuptools")
    except PackageNotFoundError:
        found = "0"
    if int(found.split(".")[0]) < 77:
        pytest.skip(f"building needs setuptools 77 or later; here is {found}")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    # A neighbour that must not be packed.
    (source / "tests").mkdir()
    (source / "tests" / "test_nothing.py").touch()
    shutil.copytree(ROOT / "vecstore", source / "vecstore", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("codecs", "cli", "bench"):
        (source / name).symlink_to(f"vecstore/{name}")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
         "--wheel-dir", str(folder), str(source)],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return zipfile.ZipFile(built)


def test_the_wheel_holds_every_module_and_nothing_else(wheel):
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "vecstore").rglob("*.py")}
    assert modules - names == set()
    beside = {f"vecstore/bench/report/{name}" for name in ("page.css", "page.js", "vega-license.txt")}
    assert names - modules == {"vecstore/py.typed", *beside}


def test_the_wheel_names_its_command_and_its_license(wheel):
    (points,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    assert "vecstore = vecstore.cli.main:main" in wheel.read(points).decode()
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())


def test_the_wheel_works_where_nothing_else_of_the_checkout_is(wheel, tmp_path):
    wheel.extractall(tmp_path)
    code = "import sys; sys.path.insert(0, sys.argv[1]); import vecstore; print(vecstore.__file__)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.strip() == str(tmp_path / "vecstore" / "__init__.py"), done.stderr
