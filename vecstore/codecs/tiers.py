"""Tiers: the first bytes of each code as a code of its own, a coarser one.

A coarse search reads the first bytes of all codes, a finer one all bytes of a few. Where each dimension has
bytes of its own, a tier is a number of dimensions: behind `pca` the first are those that matter most; of
models trained for it (Matryoshka) those as they are. Where bytes are of all dimensions and the first of them
say the most (`tcq`, `klt`, `rq`, `prq`, `rbe`), it is a number of bytes.
"""

from __future__ import annotations

import re

from vecstore.codecs.base import Codec, Transform
from vecstore.codecs.chain import Chain
from vecstore.codecs.transforms.prefix import Prefix
from vecstore.errors import SpecError


def tier(codec: Codec, part: int | str) -> Codec:
    """The codec whose codes are the first bytes of the codes of `codec`.

    part: how many of the dimensions that are coded, those behind any transforms; or how many bytes of the
    whole code, as in '16B'. It encodes rows to these bytes (where a beam or a row's scale looks ahead, to
    nearer ones), decodes them to rows as wide as before, and scans them. Dimensions that are left out decode
    to zero, which the transforms in front then turn back. Raises SpecError where there is no such tier.
    """
    transforms: tuple[Transform, ...] = codec.transforms if isinstance(codec, Chain) else ()
    last = codec.codec if isinstance(codec, Chain) else codec
    found = re.fullmatch(r"([0-9]{1,9})(B?)", str(part))
    if found is None:
        raise SpecError(f"a tier is {part!r}; expected dimensions, as in 64, or bytes, as in 16B")
    count = int(found[1])
    if found[2]:
        if count == codec.code_bytes:
            return codec
        own = count - sum(transform.side_bytes for transform in transforms)
        if not 1 <= own < last.code_bytes:
            least = count - own + 1
            raise SpecError(f"a tier of {count} bytes; codes have {codec.code_bytes}, so {least} to that")
        front = last.prefix(own)
        return Chain(transforms, front) if transforms else front
    if not 1 <= count <= last.dim:
        raise SpecError(f"a tier of {count} dimensions; {last.name} codes {last.dim}, so 1 to that")
    if count == last.dim:
        return codec
    return Chain((*transforms, Prefix(dim=last.dim, kept=count)), last.leading(count))
