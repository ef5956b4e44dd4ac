"""Which test holds each codec from a paper against the paper's formulas, written plainly in numpy."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass

from vecstore import registry

TITLE = "Codecs from papers"
ABOUT = """\
Each codec from a paper is tested against the paper's formulas, which the test has in plain numpy. Where a
formula ends in a choice, as of the number of a centroid, the choice is the same but for ties that rounding
decides; values agree to the rounding of what is stored; what is approximate is said."""


@dataclass(frozen=True)
class Check:
    """A test, as path::name, and what of the codec it compares."""

    name: str  # of the codec or transform
    test: str
    compares: str


_IN = "tests/codecs/test_"
_KERNELS = "tests/kernels/test_"
CHECKS = (
    Check("sq", f"{_IN}sq.py::test_values_take_the_nearest_of_evenly_spaced_levels", "codes, rows"),
    Check("sq", f"{_IN}sq.py::test_a_grid_is_the_line_of_least_squares_through_its_cells", "levels"),
    Check("pq", f"{_IN}pq.py::test_pq_is_the_nearest_centroid_of_each_subspace", "codes"),
    Check("rq", f"{_IN}residual.py::test_codes_are_those_of_the_papers_search_up_to_rounding",
          "codes (approximate, as products of centroids are rounded: of fewer than 12 % of rows others, with "
          "up to 2 % more error in all), rows"),
    Check("rq", f"{_KERNELS}beams.py::test_search_is_the_plain_one_bit_for_bit",
          "the search over what was rounded, bit for bit"),
    Check("prq", f"{_IN}residual.py::test_blocks_are_residual_codecs_of_their_own",
          "codes and rows of each block, as rq's"),
    Check("lsq", f"{_KERNELS}icm.py::test_search_is_the_plain_one", "the local search, bit for bit"),
    Check("lsq", f"{_IN}lsq.py::test_least_squares_are_those_of_the_normal_equations", "codebooks"),
    Check("sign", f"{_IN}sign.py::test_levels_and_thresholds_alternate_as_in_the_paper", "levels, codes"),
    Check("itq", f"{_IN}itq.py::test_the_rotation_is_that_of_the_paper_s_alternation", "rotation"),
    Check("itq", f"{_IN}itq.py::test_codes_are_signs_along_the_axes_and_decoding_turns_the_means_back",
          "codes, rows"),
    Check("rbe", f"{_IN}rbe.py::test_planes_are_signs_of_what_those_before_left", "codes, rows"),
    Check("hadamard", f"{_IN}hadamard.py::test_levels_are_the_means_of_their_cells_and_lose_what_is_known",
          "levels"),
    Check("hadamard", f"{_IN}hadamard.py::test_decoded_rows_are_those_of_the_papers", "rows"),
    Check("rabitq", f"{_IN}rabitq.py::test_one_bit_is_the_estimator_of_the_paper",
          "inner products and their bounds"),
    Check("rabitq", f"{_KERNELS}grid.py::test_the_codeword_points_almost_as_the_best_one_does",
          "codewords of several bits (approximate: nearly the best)"),
    Check("klt", f"{_IN}klt.py::test_codes_are_the_nearest_levels_along_the_axes", "codes, rows"),
    Check("klt", f"{_IN}klt.py::test_cells_have_the_known_errors", "levels"),
    Check("klt", f"{_IN}tcq.py::test_no_other_allocation_of_whole_bits_errs_less", "bits of each axis"),
    Check("tcq", f"{_KERNELS}viterbi.py::test_any_bytes_decode_to_the_windows_of_their_circles",
          "rows, bit for bit"),
    Check("tcq", f"{_KERNELS}viterbi.py::test_encoder_takes_the_path_of_the_plain_one", "codes"),
    Check("lossless", f"{_KERNELS}planes.py::"
          "test_planes_are_the_bytes_of_the_rotated_value_and_join_gives_them_back", "byte planes"),
    Check("lossless", f"{_KERNELS}rans.py::"
          "test_words_are_those_of_the_definition_and_give_the_symbols_back", "entropy code, bit for bit"),
    Check("whiten", f"{_IN}whiten.py::test_whitened_rows_are_those_of_the_definition", "rows"),
    Check("pca", f"{_IN}pca.py::test_principal_axes_of_few_wide_rows_are_those_of_their_covariance", "axes"),
    Check("opq", f"{_IN}opq.py::test_the_rotation_is_that_of_the_paper_s_alternation", "rotation"),
    Check("opq", f"{_IN}opq.py::test_axes_are_dealt_to_the_subspace_of_least_product", "order of the axes"),
    Check("rotate", f"{_IN}rotate.py::test_rows_are_turned_by_signs_and_hadamard_matrices", "rows"),
    Check("prefix", f"{_IN}prefix.py::test_the_first_dimensions_are_kept_and_the_others_come_back_as_zero",
          "rows"),
    Check("jl", f"{_IN}jl.py::test_outputs_are_scaled_sums_of_few_signed_dimensions", "rows"),
    Check("jl", f"{_IN}jl.py::test_the_share_and_the_signs_of_the_entries_are_as_drawn",
          "entries of the matrix (their shares)"),
    Check("relative", f"{_IN}relative.py::test_a_row_becomes_its_cosines_with_rows_of_the_sample", "rows"),
    Check("fde", f"{_IN}fde.py::test_encodings_are_those_of_the_paper", "rows and queries"),
)  # fmt: skip
OF_NO_PAPER = ("f32", "f16", "bf16", "center", "normalize", "groupcenter")


def source(name: str) -> str:
    """What a codec's data sheet says of where it is from; empty where it does not."""
    text = sys.modules[registry.find(name).__module__].__doc__ or ""
    found = re.search(r"^( *)source +(.*(?:\n\1 +.*)*)", text, re.MULTILINE)
    return " ".join(found[2].split()) if found else ""


def table() -> tuple[str, list[str], list[list[str]]]:
    """Every check, with the source beside the first one of each codec."""
    lines, before = [], ""
    for check in CHECKS:
        named = [check.name, source(check.name)] if check.name != before else ["", ""]
        lines.append([*named, check.compares, f"`{check.test}`"])
        before = check.name
    return TITLE, ["codec", "source", "compared", "test"], lines
