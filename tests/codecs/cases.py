"""The specs that every test of codecs goes through, one line for each kind, and rows to try them on."""

import numpy as np

from vecstore import registry

SPECS = [
    *registry.CODECS,
    "sq:bits=6", "sq:bits=4", "sq:bits=8,clip=0.01",
    "pq:m=1", "pq:m=3,bits=4", "pq:m=5", "pq:bytes=2", "lossless:mode=plain",
    "center+sq", "normalize+pq:m=2", "normalize:keep=false+f16", "pca:dim=3+f32", "pca+sq:bits=4",
    "rotate+sq:bits=4", "prefix:dim=2+f32", "center+rotate+normalize+pq:m=4,bits=4",
    "whiten+f32", "whiten:floor=0.1+sq", "relative:anchors=5+f16", "normalize+relative+f32",
    "relative:anchors=90+f32", "sign:center=true,scale=true", "normalize+sign", "rotate+sign",
    "itq:bits=3", "itq:bytes=1", "normalize+itq", "hadamard:bits=1", "hadamard:bits=3,scale=mse",
    "hadamard:bits=2,center=false", "normalize+hadamard",
    "rbe:bits=1", "rbe:bits=3,rotate=true", "center+rbe",
    "tcq:bytes=4,stages=2,states=64", "tcq:bits=1,states=64,stages=0", "tcq:bytes=3,states=128",
    "tcq:bits=6", "normalize+tcq:bits=0.5",
    "tcq:bytes=5,stages=1,states=64,scale=mse", "tcq:bytes=3,states=64,scale=length",
    "klt:bits=2", "klt:bytes=3", "normalize+klt:bits=7", "normalize+klt:bits=3,renormalize=false",
    "klt:bytes=4,scale=mse",
    "rabitq:bits=2", "rabitq:bits=5,center=false", "rabitq:bits=8", "center+rabitq:bits=4",
    "jl:dim=3+f32", "center+jl:dim=5,density=0.5+sq",
    "rq:m=3,beam=2", "rq:bytes=2", "prq:m=5,splits=2", "center+prq:m=4,splits=1",
    "opq:m=2+pq:m=2", "opq:m=3,bits=4+f32",
    "lsq:m=3,beam=2", "lsq:bytes=2,iters=0", "center+lsq:m=4,iters=3",
]  # fmt: skip


def make_rows(n, dim, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, dim)) * (1 + np.arange(dim)) + 3
    if np.dtype(dtype) == np.uint8:
        return np.clip(rows * 10, 0, 255).astype(np.uint8)
    return rows.astype(np.float32).astype(dtype)
