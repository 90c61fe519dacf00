"""Names for the arrays that cross room borders."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

UInt8 = NDArray[np.uint8]  # images at rest: (H, W), (H, W, 3) RGB, or stacks (N, H, W[, 3])
Float = NDArray[np.float32]
Double = NDArray[np.float64]
Int = NDArray[np.int64]
Bool = NDArray[np.bool_]
AnyArray = NDArray[Any]
