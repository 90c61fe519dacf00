"""Is this picture a copy of that one: aligned as well as can be, then compared in detail."""

from __future__ import annotations

import cv2
import numpy as np

from mien.core.arrays import Double, Float
from mien.evaluation.copy_candidates import View

_ITERATIONS = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 40, 1e-5)
_SMOOTHING_PX = 3  # of the alignment: lets it find what lies between two views
_FINE, _COARSE = 0.8, 3.0  # standard deviations of the band that is compared, pixels
_NEIGHBOURHOOD = 4.0  # standard deviation of the place whose strength is taken out, pixels
_FLOOR = 8.0  # gray levels: weaker detail than this stays weak, or noise would count
_LEAST_SHARE = 0.55  # of the picture that has to lie inside the source


def copy_score(picture: Float, source: Float, view: View) -> float:
    """Correlate a picture with a training face after aligning them, in the band of features.

    The band leaves out what two faces easily share (light, head shape) and what recompression
    destroys (the finest detail). Alignment may shift and stretch along the axes, as a crop does.

    Args:
        picture: (H, W) float32 gray levels.
        source: (H, W) float32 gray levels, not mirrored yet.
        view: where the coarse search saw the picture in the source.

    Returns:
        In [-1, 1]; 1 = the same picture. -1 where they cannot be laid over each other.

    Source: alignment by Evangelidis and Psarakis 2008, "Parametric image alignment using enhanced
    correlation coefficient maximization", as OpenCV does it; its shear is set to zero afterwards.
    """
    if view.mirrored:
        source = np.ascontiguousarray(source[:, ::-1])
    if np.array_equal(picture, source):
        return 1.0 if np.ptp(picture) else -1.0
    height, width = picture.shape
    start = _as_matrix(view, source.shape, picture.shape)
    scores = [_correlation(picture, source, start)]
    try:
        _, found = cv2.findTransformECC(
            picture, source, start.copy(), cv2.MOTION_AFFINE, _ITERATIONS, None, _SMOOTHING_PX
        )
    except cv2.error:  # it did not converge, or a picture is flat
        return scores[0]
    refined = np.asarray(found, dtype=np.float32)
    # Keep where the centre goes when the shear is taken out.
    centre = np.array([(width - 1) / 2, (height - 1) / 2], dtype=np.float32)
    middle = refined[:, :2] @ centre + refined[:, 2]
    upright = np.diag(np.diag(refined[:, :2]))
    refined = np.column_stack([upright, middle - upright @ centre]).astype(np.float32)
    return max(*scores, _correlation(picture, source, refined))


def _as_matrix(view: View, source: tuple[int, ...], picture: tuple[int, ...]) -> Float:
    """Map pixel centres of the picture to pixel centres of the source: (2, 3)."""
    scale_x = view.side * source[1] / picture[1]
    scale_y = view.side * source[0] / picture[0]
    shift_x = view.left * source[1] + 0.5 * scale_x - 0.5
    shift_y = view.top * source[0] + 0.5 * scale_y - 0.5
    return np.array([[scale_x, 0, shift_x], [0, scale_y, shift_y]], dtype=np.float32)


def _correlation(picture: Float, source: Float, matrix: Float) -> float:
    height, width = picture.shape
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (width, height)
    warped = cv2.warpAffine(source, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpAffine(np.ones_like(source), matrix, size, flags=flags) > 0.99
    if inside.mean() < _LEAST_SHARE:
        return -1.0
    first, second = _band(picture)[inside], _band(np.asarray(warped))[inside]
    first, second = first - first.mean(), second - second.mean()
    power = float(first @ first) * float(second @ second)
    return float(first @ second) / power**0.5 if power > 1e-6 else -1.0


def _band(image: Float) -> Double:
    """Keep the band of features, each place by its own strength, not by the strongest's."""
    fine = cv2.GaussianBlur(image, (0, 0), _FINE)
    band = fine - cv2.GaussianBlur(image, (0, 0), _COARSE)
    power = cv2.GaussianBlur(band * band, (0, 0), _NEIGHBOURHOOD)
    # Without this a banner or a bright edge across two faces would make them one.
    return np.asarray(band / np.sqrt(power + _FLOOR * _FLOOR), dtype=np.float64)
