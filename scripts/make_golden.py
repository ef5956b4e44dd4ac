"""Writes the golden files that every later version must read: `python scripts/make_golden.py`.

Run it when a codec or the format is new; a file that exists is never replaced.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
from golden_stores import make_stores
from golden_tables import make_served, make_tables

from vecstore.archive import Archive, ArchiveWriter
from vecstore.formats.base import Batch
from vecstore.registry import fit

FOLDER = Path(__file__).parents[1] / "tests" / "golden"
SPECS = {
    "f32": "f32",
    "f16": "f16",
    "bf16": "bf16",
    "sq8": "sq:bits=8",
    "sq6": "sq:bits=6",
    "sq4": "sq:bits=4",
    "pq8": "pq:m=2",
    "pq4": "pq:m=4,bits=4",
    "lossless": "lossless",
    "sign": "sign",
    "itq": "itq:bits=5",
    "hadamard": "hadamard:bits=3",
    "jl": "center+jl:dim=5+f16",
    "rbe": "rbe:bits=3,rotate=true",
    "rbe_trained": "rbe:bits=2,train=true",
    "rabitq": "rabitq",
    "rabitq5": "rabitq:bits=5",
    "sign_scaled": "sign:scale=true",
    "klt": "klt:bits=3",
    "tcq": "tcq:bits=3,stages=0",
    "tcq_staged": "tcq:bytes=4,stages=2,states=64",
    "tcq_scaled": "tcq:bytes=4,stages=1,states=64,scale=length",
    "klt_scaled": "klt:bytes=3,scale=mse",
    "normalize": "normalize+sq:bits=8",
    "pca": "pca:dim=4+f16",
    "rq": "rq:m=3",
    "prq": "prq:m=3,splits=2,beam=2",
    "opq": "opq:m=2,dim=6+pq:m=2",
    "whiten": "whiten+sq:bits=8",
    "groupcenter": "groupcenter:by=year,least=12+sq:bits=8",
    "fde": "fde:reps=1,bits=2,dim=2+f16",
    "relative": "normalize+relative:anchors=8+f16",
    "lsq": "lsq:m=3",
}
TIERS = {"tiers": ("pca+sq:bits=4", [2, 4]), "tiers_in_bytes": ("normalize+rq:m=3", ["3B", "4B"])}
ROWS, DIM = 600, 8


def main() -> None:
    """One archive per codec, its decoded rows beside it as .npy, and what else must come out in one JSON."""
    rng = np.random.default_rng(7)
    rows = (rng.standard_normal((ROWS, DIM)) * np.linspace(1, 3, DIM)).astype(np.float32)
    cases = {name: (spec, []) for name, spec in SPECS.items()} | TIERS
    for number, (name, (spec, tiers)) in enumerate(cases.items()):
        path = FOLDER / f"v{2 if tiers else 1}" / f"{name}.arrow"
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            continue
        ids = pa.array([f"item {i}" for i in range(ROWS)]) if number % 2 else None
        columns = pa.record_batch(
            {"year": pa.array([None if i % 5 == 0 else i % 30 for i in range(ROWS)], pa.int16())}
        )
        # A ragged codec is fitted on rows of several tokens, and takes rows that are encoded already.
        sample = rows.reshape(-1, 4, DIM) if spec.startswith("fde") else rows
        codec = fit(spec, sample, columns={"year": columns.column(0)})
        kind = None if ids is None else ids.type
        card = {"metric": "cosine", "model": "none", **({"tiers": tiers} if tiers else {})}
        with ArchiveWriter(path, codec, card=card, id_type=kind, columns=columns.schema) as writer:
            writer.write(Batch(rows, ids, columns, "golden", 0))
        with Archive(path) as archive:
            decoded = np.concatenate([part for _, part in archive.scan()])
            facts = {
                "spec": str(archive.spec),
                "identity": archive.codec.identity,
                "ledger": archive.ledger().as_dict(),
            }
        np.save(path.with_suffix(".npy"), decoded)
        path.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n")
        print(f"{path.name}: {path.stat().st_size} bytes")
    make_stores(FOLDER / "store1")
    make_tables(FOLDER / "tables1")
    make_served(FOLDER / "tables1")


if __name__ == "__main__":
    main()
