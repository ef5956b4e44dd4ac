"""What the house promises of itself: floors, sizes, names, and what it does not need."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "vecstore"
SHAPED = ("__init__", "from_pretrained")  # in train, as torch has them
EDGE = ("__init__.py", "export.py")  # in train, all else is for torch
LINKED = ("codecs", "cli", "bench")
OPTIONAL = (
    "torch", "h5py", "faiss", "safetensors", "blosc2", "scipy", "pandas", "polars", "duckdb", "sklearn",
    "matplotlib", "vl_convert",
)  # fmt: skip

# A module imports from lower floors, or from its own part; registry holds the table of what is in codecs.
FLOORS = (
    ("errors",), ("spec", "ledger", "atomic"), ("memory",), ("kernels",), ("codecs",), ("registry",),
    ("search",), ("space",), ("formats",), ("archive",), ("store",), ("stream",), ("planner",), ("train",),
    ("bench",), ("api",), ("__init__",), ("cli",), ("__main__",),
)  # fmt: skip
FLOOR = {part: at for at, parts in enumerate(FLOORS) for part in parts}

SOURCES = sorted(PACKAGE.rglob("*.py"))
ALL_PYTHON = [*SOURCES, *sorted((ROOT / "scripts").rglob("*.py")), *sorted((ROOT / "tests").rglob("*.py"))]
SHIPPED = [
    path
    for folder in ("vecstore", "tests", "scripts", "docs", ".ci")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.is_file() and "__pycache__" not in path.parts
] + [path for path in sorted(ROOT.iterdir()) if path.is_file() and path.name != ".git"]


def name_of(path):
    return str(path.relative_to(ROOT))


def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def functions(path):
    return [
        node for node in ast.walk(tree_of(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def part_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_parts(tree):
    """The parts of vecstore that a module imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import; name the module in full"
            names = [node.module or ""]
            if node.module == "vecstore":
                names = [f"vecstore.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] == "vecstore":
                yield node.lineno, [*name.split("."), "__init__"][1]


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_imports_point_down(path):
    here = part_of(path)
    for line, part in imported_parts(tree_of(path)):
        assert part in FLOOR, f"{name_of(path)}:{line} imports {part}, which has no floor; give it one here"
        assert part == here or FLOOR[part] < FLOOR[here], (
            f"{name_of(path)}:{line} imports {part}, not below it"
        )


@pytest.mark.parametrize("path", [p for p in ALL_PYTHON if "tests" not in p.parts], ids=name_of)
def test_a_file_opens_with_a_sentence(path):
    opening = (ast.get_docstring(tree_of(path)) or "").split("\n\n")[0]
    assert opening, f"{name_of(path)} has no docstring"
    assert opening.rstrip()[-1] in ".?:", opening


def test_files_are_short():
    long = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in ALL_PYTHON}
    assert {name: lines for name, lines in long.items() if lines >= 400} == {}


def test_functions_are_short():
    long = {
        f"{name_of(path)} {function.name}": function.end_lineno - function.body[0].lineno + 1
        for path in ALL_PYTHON
        for function in functions(path)
    }
    assert {name: lines for name, lines in long.items() if lines >= 60} == {}


def test_functions_take_at_most_six_arguments():
    """Functions of api.py, commands, what a spec gives to `fit`, and what makes and searches a collection are
    exempt: they are the interface."""
    found = {}
    for path in SOURCES:
        for function in functions(path):
            arguments = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
            if function.name == "fit":
                arguments = function.args.args
            count = sum(argument.arg not in ("self", "cls") for argument in arguments)
            command = part_of(path) == "cli" and any(
                "command" in ast.unparse(d) for d in function.decorator_list
            )
            options = part_of(path) == "codecs" and function.name == "fit"
            files = ("store/store.py", "store/reading.py", "archive/reader.py", "search/searcher.py")
            shown = name_of(path).endswith(files) and function.name in ("create", "search")
            shown |= part_of(path) == "train" and function.name in SHAPED
            if count > 6 and part_of(path) != "api" and not command and not options and not shown:
                found[f"{name_of(path)} {function.name}"] = count
    assert found == {}


def test_nothing_that_is_read_is_run():
    """pickle.Unpickler may be subclassed, to refuse all but what it names; loading as it comes may not."""
    runs = re.compile(
        r"(?<![\w.])(eval|exec)\(|pickle\.loads?\(|allow_pickle=True|weights_only=False|marshal|shelve"
    )
    found = {
        f"{name_of(path)}: {match.group()}"
        for path in SOURCES
        for match in runs.finditer(path.read_text("utf-8"))
    }
    assert found == set()


def test_the_root_has_its_names():
    for name in ("pyproject.toml", "vecstore", "codecs", "cli", "bench", "tests", "README.md"):
        assert (ROOT / name).exists(), name
    for name in LINKED:
        assert (ROOT / name).is_symlink() and os.readlink(ROOT / name) == f"vecstore/{name}"


def test_linked_folders_and_tests_are_no_packages():
    assert [name for name in (*LINKED, "tests") if (ROOT / name / "__init__.py").exists()] == []
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def run_python(*arguments, **environment):
    """What a fresh interpreter at the root prints; fails with what it says if it fails."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env={**os.environ, "PYTHONPATH": ".", **environment},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_root_on_the_path_leaves_the_standard_library_alone():
    run_python("-X", "frozen_modules=off", "-c", "import codecs; codecs.lookup('utf8')")
    assert run_python("-c", "import codecs; print(codecs.__file__)").strip() != str(ROOT / "codecs")


def test_no_module_needs_an_optional_package():
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in SOURCES
        if path.name != "__main__.py" and (part_of(path) != "train" or path.name in EDGE)
    ]
    code = (
        "import sys, importlib\n"
        f"for name in {OPTIONAL!r}: sys.modules[name] = None\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
    )
    run_python("-c", code)
    code = "import sys; sys.modules['torch'] = None\nimport vecstore.train.torch"
    with pytest.raises(AssertionError, match=r"pip install 'vecstore\[torch\]'"):
        run_python("-c", code)


def test_no_file_names_a_machine():
    """Folders of one machine, and hosts of package registries, mean nothing on another."""
    folder = re.compile(r"(?<![\w./])/(work|root|home|Users|opt|mnt)/\w")
    host = re.compile(r"pypi\.|python[h]osted|anaconda\.|npmjs\.", re.I)
    found = []
    for path in SHIPPED:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{name_of(path)}: {m.group()}" for m in (*folder.finditer(text), *host.finditer(text))]
    assert found == []
