from pathlib import Path

from vecstore.kernels import jit
from vecstore.kernels.jit import reached

FOLDER = Path(jit.__file__).parent


def test_the_cache_of_a_kernel_file_knows_every_file_that_it_can_reach():
    found = {path.name for path in reached(FOLDER / "kmeans.py")}
    assert found >= {"kmeans.py", "nearest.py", "simd.py", "isa.py", "jit.py", "threads.py"}
    assert "rans.py" not in found


def test_names_imported_over_several_lines_are_followed(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from vecstore.kernels import (\n    rans,\n    half,\n)\nfrom vecstore.kernels.planes import x\n"
    )
    found = {p.name for p in reached(path)}
    assert found >= {"mine.py", "jit.py", "isa.py", "rans.py", "half.py", "planes.py"}
    assert "kmeans.py" not in found
