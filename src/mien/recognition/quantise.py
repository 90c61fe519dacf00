"""A network in 8 bits: three to four times faster on a processor, and a quarter of the size."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mien.core.arrays import UInt8

INPUT = "images"
CALIBRATION_BATCH = 16


def quantise(model: bytes, faces: UInt8) -> bytes:
    """Quantise a network's convolutions and products statically, in QDQ form.

    Scales come from what the network sees on real faces; what surrounds it (normalisation,
    softmax, temperature) stays in floating point.

    Args:
        model: of ``export_onnx``.
        faces: (N, S, S[, 3]) uint8 of the training rows, a few hundred.

    Source: Jacob et al. 2018, "Quantization and training of neural networks for efficient
        integer-arithmetic-only inference", §2; weights per channel, by ONNX Runtime's tools.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Faces(CalibrationDataReader):  # type: ignore[misc]  # its interface is a class
        """Hands the faces out, a batch at a time."""

        def __init__(self) -> None:
            self.batches: Iterator[UInt8] = (
                faces[i : i + CALIBRATION_BATCH] for i in range(0, len(faces), CALIBRATION_BATCH)
            )

        def get_next(self) -> dict[str, Any] | None:
            """Return the next batch by input name, None at the end."""
            batch = next(self.batches, None)
            return None if batch is None else {INPUT: batch}

    with tempfile.TemporaryDirectory() as folder:
        plain, ready, small = (Path(folder) / f"{n}.onnx" for n in ("plain", "ready", "small"))
        plain.write_bytes(model)
        quant_pre_process(str(plain), str(ready), skip_symbolic_shape=True)
        quantize_static(
            str(ready),
            str(small),
            Faces(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Gemm", "MatMul"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
        )
        return small.read_bytes()
