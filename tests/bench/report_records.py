"""Records that tests of the report are made of."""

# ruff: noqa: E501
import json

HOSTILE = "</script><script>window.owned=1</script><img src=x onerror=owned()>&\"'`|[a](http://b)\u2028"
MACHINE = {"cpu": "Some CPU", "cores": 2, "isa": "avx2", "python": "3.11"}
COMMON = {"quick": False, "seed": 0, "load_before": 0.2, "machine": MACHINE}


def quality(method, size, error, recall, dataset="some", **more):
    return {
        **COMMON, "task": "codecs", "kind": "quality", "dataset": dataset, "method": method, "threads": 1, "dim": 96,
        "rows": 1000, "bytes_per_row": size, "relative_mse": error, "recall_at_10": recall, "gap_codes_db": 1.5,
        "ledger": {"codes": 1000, "side": 0, "shared": 10, "total": 1010}, **more,
    }  # fmt: skip


def limit(dataset="some"):
    return {**COMMON, "task": "codecs", "kind": "limit", "dataset": dataset, "method": "limit", "threads": 1,
            "dim": 96, "rows": 1000, "bytes_per_row": [4.0, 8.0, 16.0, 32.0], "relative_mse": [0.5, 0.3, 0.1, 0.01]}  # fmt: skip


def scan(method, share, ratio, queries=1, **more):
    return {
        **COMMON, "task": "scan", "method": method, "peer": "faiss SQ8", "dim": 384, "rows": 20000, "threads": 1,
        "queries": queries, "ours_ns_row": 3.0, "peer_ns_row": 9.0, "ours_row_bytes": 384, "peer_row_bytes": 384.0,
        "read_share": share, "read_gb_s": 20.0, "scan_ratio": ratio, "scan_ratio_min": ratio / 2,
        "scan_ratio_max": ratio * 2, **more,
    }  # fmt: skip


CODECS = [
    quality("pq:bytes=8", 8.0, 0.4, 0.5), quality("faiss pq:m=8", 8.0, 0.41, 0.49), quality("tcq:bytes=16", 16.0, 0.2, 0.8),
    quality("faiss opq:m=16", 16.0, 0.25, 0.7), quality("--budget 16B/row", 16.0, 0.2, 0.8), limit(),
    quality("faiss sq:8bit", 96.0, 1e-4, 0.99), quality("sq:bits=8", 96.0, 9e-5, 0.99),
]  # fmt: skip
SCANS = [scan("sq:bits=8", 0.9, 2.1), scan("sq:bits=8", 0.9, 4.0, queries=32)]


def write(path, *records):
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records))
    return str(path)


def hostile():
    return [
        {**r, **{key: r[key] + HOSTILE for key in ("dataset", "method") if isinstance(r.get(key), str)}, "machine": {HOSTILE: HOSTILE}}
        for r in (*CODECS, *SCANS)
    ] + [{"task": HOSTILE, HOSTILE: HOSTILE}, {**CODECS[0], "method": "z", "error": HOSTILE}, json.dumps({"task": "codecs", "kind": HOSTILE})]  # fmt: skip
