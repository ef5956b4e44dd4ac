"""Fills the blocks of README that hold figures from the records in docs/benchmarks.

python scripts/fill_readme.py
"""

from __future__ import annotations

from pathlib import Path

from vecstore.bench import readme

ROOT = Path(__file__).resolve().parents[1]

if __name__ == "__main__":
    README = ROOT / "README.md"
    README.write_text(readme.filled(README.read_text("utf-8"), ROOT / "docs" / "benchmarks"), "utf-8")
