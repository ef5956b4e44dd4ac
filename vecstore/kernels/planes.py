"""Float32 bits split into four byte planes, the exponent in one of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.jit import kernel

U8 = NDArray[np.uint8]
U32 = NDArray[np.uint32]


@kernel
def split_planes(bits: U32, planes: U8) -> None:
    """planes[p, i] = byte p, lowest first, of bits[i] rotated left by one.

    bits (n,) are float32 patterns; planes (4, n), written. After the rotation the eight bits of the
    exponent fill plane 3 and the sign is the lowest bit of plane 0.
    """
    for i in range(bits.size):
        turned = (bits[i] << np.uint32(1)) | (bits[i] >> np.uint32(31))
        planes[0, i] = np.uint8(turned)
        planes[1, i] = np.uint8(turned >> np.uint32(8))
        planes[2, i] = np.uint8(turned >> np.uint32(16))
        planes[3, i] = np.uint8(turned >> np.uint32(24))


@kernel
def join_planes(lowest: U8, low: U8, high: U8, highest: U8, bits: U32) -> None:
    """bits[i] = the four bytes of value i, rotated right by one: the inverse of `split_planes`.

    The planes are (n,) each, lowest byte first; bits (n,), written.
    """
    for i in range(bits.size):
        turned = (
            np.uint32(lowest[i])
            | (np.uint32(low[i]) << np.uint32(8))
            | (np.uint32(high[i]) << np.uint32(16))
            | (np.uint32(highest[i]) << np.uint32(24))
        )
        bits[i] = (turned >> np.uint32(1)) | (turned << np.uint32(31))
