"""The commands as a user types them, in a process of their own or through click's runner."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import vecstore as vs
from vecstore.cli.main import main


def run(*arguments, code=0, stdin=None):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def process(*arguments, stdin=b"", **options):
    command = [sys.executable, "-m", "vecstore", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=120, check=False, **options)


def make(n=500, dim=16, seed=0):
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("rows.npy", make())
    return tmp_path


def test_compress_says_what_it_did_and_decompress_gives_it_back(folder):
    found = json.loads(run("compress", "rows.npy", "a.arrow", "--codec", "sq", "--json").stdout)
    assert {"rows", "dim", "spec", "raw_bytes", "bytes", "ledger", "relative_mse", "seconds"} <= set(found)
    assert (found["rows"], found["dim"], found["spec"]) == (500, 16, "sq:bits=8")
    assert found["raw_bytes"] == 500 * 16 * 4
    assert found["bytes"] == found["ledger"]["total"] == os.path.getsize("a.arrow")
    assert 0 < found["relative_mse"] < 3e-4 and found["held_out"] and found["saturated"] == 0
    assert "saturated     0 rows\n" in run("compress", "rows.npy", "b.arrow", "--codec", "sq").stdout
    np.save("far.npy", make(3) * np.float32(1e6))
    assert "saturated     3 rows, far outside" in run("compress", "far.npy", "b.arrow", "--append").stdout
    run("decompress", "a.arrow", "b.npy")
    back = np.load("b.npy")
    assert back.dtype == np.float32 and np.abs(back - make()).max() < 0.05


def test_lossless_says_zero_and_is_bit_exact(folder):
    found = json.loads(run("compress", "rows.npy", "a.arrow", "--codec", "lossless", "--json").stdout)
    assert found["relative_mse"] == 0
    run("decompress", "a.arrow", "b.npy")
    assert np.array_equal(np.load("b.npy").view(np.uint32), make().view(np.uint32))


@pytest.mark.parametrize(("budget", "limit"), [("30%", 76_800), ("70kB", 70_000), ("70KiB", 71_680)])
def test_a_budget_for_the_file_is_kept(folder, budget, limit):
    np.save("many.npy", make(4000))
    run("compress", "many.npy", "a.arrow", "--budget", budget)
    assert 0.6 * limit < os.path.getsize("a.arrow") <= limit


@pytest.mark.parametrize(("budget", "limit"), [("9B/row", 9), ("4bit/dim", 8)])
def test_a_budget_for_a_row_is_kept(folder, budget, limit):
    np.save("many.npy", make(4000))
    found = json.loads(run("compress", "many.npy", "a.arrow", "--budget", budget, "--json").stdout)
    ledger = found["ledger"]
    used = ledger["codes"] + ledger["side"] + max(0, ledger["shared"] - ledger["codes"] / 10)
    assert 0.6 * limit < used / 4000 <= limit


def test_an_infeasible_budget_says_the_least(folder):
    result = run("compress", "rows.npy", "a.arrow", "--budget", "0.01%", code=2)
    assert result.stderr.startswith("Error: budget '0.01%'") and "the least is" in result.stderr
    assert not os.path.exists("a.arrow")


def test_info_shows_a_table_on_disk_and_in_memory(folder):
    vs.table("unified", {"user": 500, "item": 20}, dim=8, budget="20%").save("t")
    found = json.loads(run("info", "t", "--json").stdout)
    assert found["ledger"]["total"] == os.path.getsize("t")
    assert found["memory"]["total"] == vs.table_open("t").ledger().total
    shown = run("info", "t").stdout
    assert "unified" in shown and "500 ids, 8 dimensions" in shown and "memory parameters" in shown


def test_info_check_get_and_cat_read_an_archive(folder):
    run("compress", "rows.npy", "a.arrow", "--codec", "f32", "--metric", "cosine", "--model", "mine")
    found = json.loads(run("info", "a.arrow", "--json").stdout)
    assert {"rows", "dim", "spec", "format_version", "ledger", "metric", "generations"} <= set(found)
    assert found["metric"] == "cosine" and found["card"]["model"] == "mine"
    assert found["ledger"]["total"] == os.path.getsize("a.arrow")
    assert "f32" in run("info", "a.arrow").stdout
    read = json.loads(run("info", "a.arrow", "--searched", "--json").stdout)
    assert read["memory"]["side"] == 4 * read["rows"] and read["memory"]["total"] > found["memory"]["total"]
    assert json.loads(run("check", "a.arrow", "--json").stdout) == {"ok": True, "findings": []}
    assert run("check", "a.arrow").stdout == "sound\n"
    found = json.loads(run("get", "a.arrow", "3", "499", "--json").stdout)
    assert found["ids"] == [3, 499]
    assert np.array_equal(np.array(found["vectors"], np.float32), make()[[3, 499]])
    line = run("get", "a.arrow", "7").stdout.rstrip("\n").split("\t")
    assert line[0] == "7" and np.array_equal(np.array(line[1].split(), np.float32), make()[7])
    lines = run("cat", "a.arrow", "--json", "--limit", "3").stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == [0, 1, 2]
    assert len(run("cat", "a.arrow").stdout.splitlines()) == 500


def test_tiers_are_stored_shown_and_searched(folder):
    run("compress", "rows.npy", "a.arrow", "--codec", "pca+sq", "--tiers", "4,8")
    assert json.loads(run("info", "a.arrow", "--json").stdout)["tiers"] == {"4": 4, "8": 8}
    assert "4 (4 bytes), 8 (8 bytes)" in run("info", "a.arrow").stdout
    whole, coarse, again = (
        json.loads(run("search", "a.arrow", "rows.npy", "-k", "3", "--json", *more).stdout)["ids"]
        for more in ((), ("--tier", "4"), ("--tier", "4", "--rerank", "500"))
    )
    assert whole == again and whole != coarse
    assert "1 to that" in run("search", "a.arrow", "rows.npy", "--tier", "17", code=2).stderr


def test_damage_is_exit_code_4_everywhere(folder):
    run("compress", "rows.npy", "a.arrow", "--codec", "f32")
    data = bytearray(Path("a.arrow").read_bytes())
    data[len(data) // 2] ^= 4
    Path("a.arrow").write_bytes(data)
    result = run("check", "a.arrow", "--json", code=4)
    found = json.loads(result.stdout)
    assert found["ok"] is False and found["findings"]
    for arguments in (("get", "a.arrow", "250"), ("cat", "a.arrow"), ("decompress", "a.arrow", "b.npy")):
        result = run(*arguments, code=4)
        assert result.stderr.startswith("Error: ") and "a.arrow" in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert not os.path.exists("b.npy")


def test_unknown_ids_and_files_are_exit_code_3(folder):
    run("compress", "rows.npy", "a.arrow", "--codec", "f32")
    assert "500" in run("get", "a.arrow", "500", code=3).stderr
    assert "x1" in run("get", "a.arrow", "x1", code=3).stderr
    assert "nowhere.npy" in run("compress", "nowhere.npy", "b.arrow", "--codec", "f32", code=3).stderr
    run("info", "nowhere.arrow", code=3)
    run("info", "rows.npy", code=3)
    run("compress", "rows.npy", "no/such/folder.arrow", "--codec", "f32", code=3)


def test_usage_errors_are_exit_code_2(folder):
    assert "did you mean" in run("compress", "rows.npy", "a.arrow", "--codec", "pqq", code=2).stderr
    run("compress", "rows.npy", "a.arrow", code=2)
    run("compress", "rows.npy", "a.arrow", "--codec", "f32", "--budget", "5%", code=2)
    run("compress", "rows.npy", "a.arrow", "--budget", "much", code=2)
    run("compress", "rows.npy", "a.arrow", "--metric", "manhattan", "--codec", "f32", code=2)
    run("nothing", code=2)
    assert not os.path.exists("a.arrow")


def test_an_output_that_exists_is_exit_code_5_and_stays(folder):
    Path("a.arrow").write_text("mine")
    run("compress", "rows.npy", "a.arrow", "--codec", "f32", code=5)
    assert Path("a.arrow").read_text() == "mine"
    run("compress", "rows.npy", "a.arrow", "--codec", "f32", "--force")
    Path("b.npy").write_text("mine")
    run("decompress", "a.arrow", "b.npy", code=5)
    run("decompress", "a.arrow", "b.npy", "--force")
    assert np.array_equal(np.load("b.npy"), make())


def test_a_newer_format_is_exit_code_7(folder, monkeypatch):
    from vecstore.archive import layout

    monkeypatch.setattr(layout, "TIERED", layout.VERSION + 1)
    monkeypatch.setattr(layout, "VERSION", layout.TIERED)
    run("compress", "rows.npy", "a.arrow", "--codec", "f32", "--tiers", "4")
    monkeypatch.undo()
    os.chdir(folder)
    result = run("info", folder / "a.arrow", code=7)
    assert "this vecstore reads 1" in result.stderr


def test_appending_continues_an_archive_with_its_codec(folder):
    run("compress", "rows.npy", "a.arrow", "--codec", "pq:m=4")
    identity = vs.open("a.arrow").codec.identity
    np.save("more.npy", make(77, seed=1))
    found = json.loads(run("compress", "more.npy", "a.arrow", "--append", "--json").stdout)
    assert found["rows"] == 77
    with vs.open("a.arrow") as archive:
        assert len(archive) == 577 and archive.codec.identity == identity
        assert archive.get([576]).shape == (1, 16)
    run("check", "a.arrow")
    np.save("wide.npy", make(5, 17))
    run("compress", "wide.npy", "a.arrow", "--append", code=3)
    run("check", "a.arrow")


def test_ids_and_columns_travel_through_an_archive_and_back(folder):
    table = pa.table(
        {
            "key": [f"w{i}" for i in range(500)],
            "emb": pa.FixedSizeListArray.from_arrays(pa.array(make().ravel()), 16),
            "lang": pa.array(["en", "de"] * 250).dictionary_encode(),
            "year": pa.array(range(500), pa.int16()),
        }
    )
    pq.write_table(table, "t.parquet")
    run("compress", "t.parquet", "a.arrow", "--codec", "lossless", "--ids", "key", "--vectors", "emb")
    run("decompress", "a.arrow", "back.parquet")
    back = pq.read_table("back.parquet")
    assert back.column_names == ["id", "vector", "lang", "year"]
    assert back["id"].to_pylist() == table["key"].to_pylist()
    assert back["lang"].to_pylist() == table["lang"].to_pylist()
    assert back["year"].to_pylist() == table["year"].to_pylist() and back["year"].type == pa.int16()
    assert np.array_equal(np.array(back["vector"].to_pylist(), np.float32), make())
    assert run("get", "a.arrow", "w17").stdout.startswith("w17\t")
    noted = run("decompress", "a.arrow", "back.npy")
    assert "cannot hold ids" in noted.stderr


def test_duplicate_ids_are_named_or_skipped(folder):
    table = pa.table({"id": [1, 2, 3, 2, 1], "vector": make(5, 4).tolist()})
    pq.write_table(table, "t.parquet")
    result = run("compress", "t.parquet", "a.arrow", "--codec", "f32", code=3)
    assert "t.parquet: row 3" in result.stderr and "repeats the id 2" in result.stderr
    result = run("compress", "t.parquet", "a.arrow", "--codec", "f32", "--on-error", "skip")
    assert "2 rows were left out" in result.stderr
    assert vs.open("a.arrow").get([1, 2, 3]).shape == (3, 4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_named_skipped_or_kept(folder, value):
    rows = make()
    rows[123, 4] = value
    np.save("bad.npy", rows)
    result = run("compress", "bad.npy", "a.arrow", "--codec", "pq:m=2", code=3)
    assert "bad.npy: row 123" in result.stderr and "dimension 4" in result.stderr
    found = json.loads(
        run("compress", "bad.npy", "a.arrow", "--codec", "pq:m=2", "--on-error", "skip", "--json").stdout
    )
    assert found["rows"] == 499 and found["skipped"] == 1
    with vs.open("a.arrow") as archive, pytest.raises(vs.NotFoundError):
        archive.get([123])
    run("compress", "bad.npy", "b.arrow", "--codec", "lossless")
    assert np.array_equal(vs.open("b.arrow").get([123]).view(np.uint32), rows[[123]].view(np.uint32))


def test_zero_rows_are_an_error_for_cosine_alone(folder):
    rows = make()
    rows[9] = 0
    np.save("zero.npy", rows)
    run("compress", "zero.npy", "a.arrow", "--codec", "sq")
    assert (
        "row 9"
        in run("compress", "zero.npy", "b.arrow", "--codec", "sq", "--metric", "cosine", code=3).stderr
    )


def test_an_empty_file_says_so(folder):
    np.save("none.npy", np.empty((0, 4), np.float32))
    assert "no rows" in run("compress", "none.npy", "a.arrow", "--codec", "f32", code=3).stderr
    Path("empty.npy").touch()
    run("compress", "empty.npy", "a.arrow", "--codec", "f32", code=3)
    assert not os.path.exists("a.arrow")


@pytest.mark.parametrize(
    "codec", ["f32", "sq:bits=4", "pq:m=16", "pq:m=3,bits=4", "pca:dim=16+pq", "lossless"]
)
def test_one_row_and_few_rows_make_an_archive(folder, codec):
    for n in (1, 3):
        np.save("few.npy", make(n))
        run("compress", "few.npy", f"{n}.arrow", "--codec", codec)
        run("check", f"{n}.arrow")
        assert vs.open(f"{n}.arrow").get([0]).shape == (1, 16)


def test_codecs_lists_names_and_tells_about_one(folder):
    assert "pq" in run("codecs").stdout
    assert set(json.loads(run("codecs", "--json").stdout)) >= {"f32", "lossless", "pca"}
    assert "code_bytes" in run("codecs", "pq").stdout
    run("codecs", "qp", code=2)
    assert set(json.loads(run("codecs", "--json").stdout)) >= {"unified", "plain", "cafe"}
    assert "chunks=" in run("codecs", "unified").stdout
    assert "admit" in json.loads(run("codecs", "dynamic", "--json").stdout)["options"]


def test_completion_prints_a_script_that_names_the_program(folder):
    for shell in ("bash", "zsh", "fish"):
        assert "_VECSTORE_COMPLETE" in run("completion", shell).stdout


def test_pipes_carry_arrow_streams_in_and_out(folder):
    rows = make(3000)
    table = pa.table({"id": [f"k{i}" for i in range(3000)], "vector": rows.tolist()})
    stream = io.BytesIO()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    packed = process("compress", "-", "-", "--codec", "f32", stdin=stream.getvalue())
    assert packed.returncode == 0, packed.stderr
    restored = process("decompress", "-", "-", stdin=packed.stdout)
    assert restored.returncode == 0, restored.stderr
    back = pa.ipc.open_stream(restored.stdout).read_all()
    assert back["id"].to_pylist() == table["id"].to_pylist()
    assert np.array_equal(np.array(back["vector"].to_pylist(), np.float32), rows)
    cut = process("compress", "-", "cut.arrow", "--codec", "f32", stdin=stream.getvalue()[:-8])
    assert cut.returncode == 3 and not os.path.exists("cut.arrow")
    bent = bytearray(packed.stdout)
    bent[len(bent) // 2] ^= 1
    damaged = process("decompress", "-", "-", stdin=bytes(bent))
    assert damaged.returncode == 4 and damaged.stdout == b""


def test_a_closed_pipe_ends_quietly(folder):
    run("compress", "rows.npy", "a.arrow", "--codec", "f32")
    command = f"{sys.executable} -m vecstore cat a.arrow | head -n 2"
    found = subprocess.run(command, shell=True, capture_output=True, timeout=120, check=True)
    assert len(found.stdout.splitlines()) == 2 and found.stderr == b""


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)]
)
def test_a_stopped_run_leaves_nothing_behind(folder, number, code):
    table = pa.table({"vector": make(70_000, 4).tolist()})
    stream = io.BytesIO()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table, max_chunksize=5000)
    command = [sys.executable, "-m", "vecstore", "compress", "-", "out.arrow", "--codec", "f32"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        child.stdin.write(stream.getvalue()[:-100_000])  # the pipe stays open: the run cannot be finished
        child.stdin.flush()
        time.sleep(1.0)
        child.send_signal(number)
        assert child.wait(30) == code
        message = child.stderr.read()
    if number != signal.SIGKILL:
        assert message.startswith(b"Error: interrupted")
    assert os.listdir(folder) == ["rows.npy"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_exit_code_6(folder):
    os.mkdir("closed")
    os.chmod("closed", 0o500)
    run("compress", "rows.npy", "closed/a.arrow", "--codec", "f32", code=6)


def test_a_full_disk_is_exit_code_6_and_leaves_nothing(folder):
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000)); "
    code = (
        limit
        + "from vecstore.cli.main import main; main(['compress', 'rows.npy', 'a.arrow', '--codec', 'f32'])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120, check=False)
    assert found.returncode == 6, found.stderr
    assert found.stderr.startswith(b"Error: ") and b"Traceback" not in found.stderr
    assert os.listdir(folder) == ["rows.npy"]


def test_the_same_input_and_seed_give_the_same_file_on_any_number_of_threads(folder):
    for name, threads in (("a", 1), ("b", 2), ("c", 2)):
        run("compress", "rows.npy", f"{name}.arrow", "--codec", "pca+pq:m=4", "--threads", threads)
    first = Path("a.arrow").read_bytes()
    assert Path("b.arrow").read_bytes() == first and Path("c.arrow").read_bytes() == first


def test_an_archive_can_be_compressed_again_with_another_codec(folder):
    run("compress", "rows.npy", "a.arrow", "--codec", "f32")
    run("compress", "a.arrow", "b.arrow", "--codec", "sq:bits=4")
    with vs.open("b.arrow") as archive:
        assert str(archive.spec) == "sq:bits=4" and len(archive) == 500


def test_globs_and_file_uris_are_read(folder):
    np.save("part0.npy", make(10))
    np.save("part1.npy", make(20, seed=1))
    run("compress", "part*.npy", "a.arrow", "--codec", "f32")
    assert np.array_equal(vs.open("a.arrow").get([10, 29]), make(20, seed=1)[[0, 19]])
    run("compress", (folder / "part0.npy").as_uri(), "b.arrow", "--codec", "f32")
    run("compress", "gone*.npy", "c.arrow", "--codec", "f32", code=3)


def test_a_file_of_nothing_but_nan_is_an_error_that_names_it(folder):
    np.save("nan.npy", np.full((30, 4), np.nan, np.float32))
    for codec in ("sq", "pq", "pca+sq", "f16"):
        assert "nan.npy" in run("compress", "nan.npy", "a.arrow", "--codec", codec, code=3).stderr
        run("compress", "nan.npy", "a.arrow", "--codec", codec, "--on-error", "skip", code=3)
    run("compress", "nan.npy", "a.arrow", "--codec", "lossless")
    assert os.path.exists("a.arrow")
