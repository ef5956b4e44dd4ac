"""Codes do not depend on the instruction set: another machine may go on with an archive."""

import os
import subprocess
import sys

import numpy as np

import vecstore as vs
from vecstore.kernels.isa import available

PROGRAM = """
import hashlib, numpy as np, vecstore as vs
rng = np.random.default_rng(0)
rows = rng.standard_normal((700, 45)).astype(np.float32)
specs = "sq:bits=4 pq:m=7 pq:m=9,bits=4 center+pca:dim=20+sq:bits=6 rotate+normalize+pq:m=5 f16"
specs += " sign rotate+sign:scale=true itq:bits=19 hadamard:bits=3"
specs += " rbe:bits=2 rbe:bits=3,rotate=true rabitq rabitq:bits=4"
specs += " center+jl:dim=20+sq"
specs += " whiten+sq:bits=6 normalize+relative:anchors=50+sq"
specs += " tcq:bytes=11,stages=2,states=64 tcq:bits=5.5,states=64,stages=0 klt:bits=3"
specs += " tcq:bytes=9,stages=1,states=64,scale=length klt:bytes=12,scale=mse"
specs += " opq:m=7,dim=40+pq:m=7 rq:m=3 prq:m=5,splits=2,beam=3"
specs += " lsq:m=3"
for spec in specs.split():
    codec = vs.fit(spec, rows[:400])
    codes = codec.encode(rows)
    found = hashlib.sha256(codes.tobytes() + codec.decode(codes).tobytes())
    print(spec, codec.identity, found.hexdigest())
"""


def test_every_instruction_set_learns_and_writes_the_same_bytes():
    outputs = {}
    for isa in available():
        environment = {**os.environ, "VECSTORE_ISA": isa}
        found = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
        outputs[isa] = found.stdout
    assert len(set(outputs.values())) == 1, outputs


FITTED = "pca:dim=20+sq whiten+sq:bits=6 itq:bits=19 opq:m=5+pq:m=5 klt:bits=3 tcq:bytes=9,stages=1,states=64"
ENCODE = """
import sys, hashlib, numpy as np, vecstore as vs
rows = np.random.default_rng(1).standard_normal((500, 45)).astype(np.float32)
for path in sys.argv[1:]:
    codec = vs.loads(open(path, "rb").read())
    codes = codec.encode(rows)
    print(hashlib.sha256(codes.tobytes() + codec.decode(codes).tobytes()).hexdigest())
"""


def test_a_fitted_codec_writes_the_same_bytes_whichever_kernels_blas_has(tmp_path):
    """What is learned by LAPACK may differ between processors; what is made of it must not."""
    rows, paths = np.random.default_rng(0).standard_normal((400, 45)).astype(np.float32), []
    for number, spec in enumerate(FITTED.split()):
        paths.append(tmp_path / str(number))
        paths[-1].write_bytes(vs.dumps(vs.fit(spec, rows)))
    outputs = set()
    for core in ("", "Prescott"):  # of OpenBLAS; another BLAS takes no notice, which is well
        environment = os.environ | ({"OPENBLAS_CORETYPE": core} if core else {})
        program = [sys.executable, "-c", ENCODE, *map(str, paths)]
        found = subprocess.run(program, env=environment, capture_output=True, text=True, check=True)
        outputs.add(found.stdout)
    assert len(outputs) == 1 and len(outputs.pop().split()) == len(paths)


def test_an_instruction_set_that_is_not_there_is_refused():
    for name, message in (
        ("sse9", "expected one of"),
        ("neon", "this machine runs"),
        ("scalar-vnni", "goes without vnni"),
    ):
        if name in available():
            continue
        environment = {**os.environ, "VECSTORE_ISA": name}
        found = subprocess.run(
            [sys.executable, "-m", "vecstore", "codecs"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert message in found.stderr and found.returncode != 0
