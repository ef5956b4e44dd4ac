"""Tiers: the first bytes of each code as a code of its own, of the first dimensions.

A coarse search reads the first bytes of all codes, a finer one all bytes of a few. Behind `pca` the first
dimensions are those that matter most; of models trained for it (Matryoshka) those as they are.
"""

from __future__ import annotations

from vecstore.codecs.base import Codec, Transform
from vecstore.codecs.chain import Chain
from vecstore.codecs.transforms.prefix import Prefix
from vecstore.errors import SpecError


def tier(codec: Codec, dims: int) -> Codec:
    """The codec of the first `dims` of the dimensions that are coded, those behind any transforms.

    Its codes are the first `code_bytes` bytes of the codes of `codec`: it encodes rows to them, decodes them
    to rows as wide as before with the other dimensions at zero (which transforms in front then turn back),
    and scans them. Raises SpecError where the dimensions do not end with a byte, or have no bytes of their
    own.
    """
    transforms: tuple[Transform, ...] = codec.transforms if isinstance(codec, Chain) else ()
    last = codec.codec if isinstance(codec, Chain) else codec
    if not 1 <= dims <= last.dim:
        raise SpecError(f"a tier of {dims} dimensions; {last.name} codes {last.dim}, so 1 to that")
    if dims == last.dim:
        return codec
    return Chain((*transforms, Prefix(dim=last.dim, kept=dims)), last.leading(dims))
