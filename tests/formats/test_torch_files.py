"""Torch's files: state dicts are read, code is never run."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest

from vecstore.errors import FormatError, InputError, NotFoundError


class Bomb:
    """Pickles to a call that would leave a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_without_torch_the_extra_is_named(tmp_path, monkeypatch, read):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "x.pt").write_bytes(b"x")
    with pytest.raises(FormatError, match=r"pip install 'vecstore\[torch\]'"):
        read(tmp_path / "x.pt")


def test_state_dicts_are_read(tmp_path, rows, read):
    torch = pytest.importorskip("torch")
    weight = torch.from_numpy(rows)
    state = {"model": {"emb.weight": weight, "half": weight.bfloat16(), "bias": torch.ones(3)}, "epoch": 3}
    for legacy in (False, True):
        torch.save(state, tmp_path / "x.pt", _use_new_zipfile_serialization=not legacy)
        assert np.array_equal(read(f"{tmp_path}/x.pt::model.emb.weight")[0], rows)
        assert np.array_equal(read(f"{tmp_path}/x.pt::model.half")[0].astype(np.float32), rows)
        with pytest.raises(InputError, match="2 tensors that could be rows"):
            read(tmp_path / "x.pt")
        with pytest.raises(NotFoundError, match="no tensor 'emb'"):
            read(f"{tmp_path}/x.pt::emb")
    torch.save(weight, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"named as file.bin::name"):
        read(tmp_path / "pytorch_model.bin")


def test_pickles_are_refused_and_not_run(tmp_path, rows, read):
    torch = pytest.importorskip("torch")
    for legacy in (False, True):
        bomb = {"w": torch.from_numpy(rows), "b": Bomb(tmp_path / "gone_off")}
        torch.save(bomb, tmp_path / "x.pt", _use_new_zipfile_serialization=not legacy)
        with pytest.raises(InputError, match="not a file of weights only"):
            read(f"{tmp_path}/x.pt::w")
    (tmp_path / "y.pt").write_bytes(pickle.dumps(Bomb(tmp_path / "gone_off")))
    with pytest.raises(InputError):
        read(tmp_path / "y.pt")
    assert not (tmp_path / "gone_off").exists()


def test_torch_reads_what_is_written(tmp_path, rows, write):
    torch = pytest.importorskip("torch")
    write(f"{tmp_path}/x.pt::emb.weight", rows, counted=False)
    state = torch.load(tmp_path / "x.pt", weights_only=True)
    assert np.array_equal(state["emb.weight"].numpy(), rows)
