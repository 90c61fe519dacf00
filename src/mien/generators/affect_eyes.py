"""Part eyes from lids: where lids open the eye goes on, where they close the lid does."""

from __future__ import annotations

import cv2
import numpy as np

from mien.core.arrays import Bool, Double, Float
from mien.morphable import landmarks as order

_IRIS = 0.094  # radius of an iris in distances of the eyes: 11.8 mm across, 63 mm apart
_SCLERA_ALBEDO = 0.80


_LID_EDGE = 0.055  # that lashes and the lids' fold reach beyond the opening, in eye distances
_LASHES = 0.026  # of the opening that belongs to the lids' edges, in eye distances


def close_eyes(picture: Float, points: Double, apart: float) -> Float:
    """Fill the open eyes and their lashes with the colour of the upper lids.

    Args:
        picture: (H, W, 3) float32 RGB, 0..255.
        points: (68, 2) pixels.
        apart: distance of the eyes in pixels.
    """
    closed = picture.copy()
    for part in (order.LEFT_EYE, order.RIGHT_EYE):
        corners = points[part]
        rows, columns = _around(corners, apart, picture.shape)
        window = picture[rows, columns]
        local = corners - (columns.start, rows.start)
        side = 2 * max(1, round(_LID_EDGE * apart)) + 1
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        covered = cv2.dilate(_aperture(window.shape[:2], local, 0.0).astype(np.float32), disc)
        lid = _lid_colour(window, local, apart)
        soft = cv2.GaussianBlur(covered, (0, 0), 0.015 * apart)[:, :, None]
        closed[rows, columns] = window + soft * (lid - window)
    return closed


def _lid_colour(window: Float, corners: Double, apart: float) -> Float:
    """Return the colour of bare skin close above and below an eye; lids lie in shadow."""
    upper, lower = corners[:, 1].min(), corners[:, 1].max()
    middle = corners[:, 0].mean()
    columns = slice(max(round(middle - 0.1 * apart), 0), max(round(middle + 0.1 * apart), 1))
    bands = [
        (upper - 0.11 * apart, upper - 0.04 * apart),
        (lower + 0.05 * apart, lower + 0.12 * apart),
    ]
    found = []
    for top, bottom in bands:
        skin = window[max(round(top), 0) : max(round(bottom), 1), columns].reshape(-1, 3)
        skin = skin if len(skin) else window.reshape(-1, 3)
        bright = skin.mean(axis=1)
        found.append(np.median(skin[bright >= np.median(bright)], axis=0))
    colour: Float = (0.92 * np.mean(found, axis=0)).astype(np.float32)
    return colour


def _around(corners: Double, apart: float, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return the rows and columns of a picture around an eye."""
    reach = int(np.ceil(0.34 * apart))
    left, top = np.rint(corners.mean(axis=0)).astype(int) - reach
    rows = slice(max(int(top), 0), min(int(top) + 2 * reach, shape[0]))
    columns = slice(max(int(left), 0), min(int(left) + 2 * reach, shape[1]))
    return rows, columns


def open_eyes(picture: Float, points: Double, apart: float) -> tuple[Float, Float]:
    """Replace the lids around both eyes by more eyeball.

    Args:
        picture: (H, W, 3) float32 RGB, 0..255.
        points: (68, 2) pixels.
        apart: distance of the eyes in pixels.

    Returns:
        The picture without lids; (3,) how it shows an even white surface, judged by the sclera.
    """
    opened = picture.copy()
    whites = [
        _open_eye(picture, opened, points[part], apart)
        for part in (order.LEFT_EYE, order.RIGHT_EYE)
    ]
    # Half its tint: eyes are redder and yellower than the light.
    white = np.mean(whites, axis=0)
    white = 0.5 * (white + white.mean()) / _SCLERA_ALBEDO
    return opened, white.astype(np.float32)


def _open_eye(picture: Float, opened: Float, corners: Double, apart: float) -> Float:
    """Fill everything around one eye's opening with the colour at that distance from the pupil."""
    rows, columns = _around(corners, apart, picture.shape)
    window = picture[rows, columns]
    y, x = np.mgrid[: window.shape[0], : window.shape[1]].astype(np.float64)
    inside = _aperture(window.shape[:2], corners - (columns.start, rows.start), _LASHES * apart)
    if inside.sum() < 6:
        return np.full(3, 200.0, np.float32)
    grey = window.mean(axis=2)
    pupil = _pupil(grey, inside, x, y, _IRIS * apart)
    radius = np.hypot(x - pupil[0], y - pupil[1])
    profile = _profile(window, inside, radius)
    filled = profile[np.minimum(np.rint(radius).astype(int), len(profile) - 1)]
    soft = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 0.014 * apart)[:, :, None]
    soft = np.where(inside[:, :, None], np.minimum(soft * 1.2, 1.0), 0.0)
    opened[rows, columns] = soft * window + (1.0 - soft) * filled * 0.97
    sclera = window[inside & (radius > 1.15 * _IRIS * apart)]
    if len(sclera) < 4:
        sclera = window[inside]
    bright = sclera[sclera.mean(axis=1) >= np.percentile(sclera.mean(axis=1), 60)]
    white: Float = bright.mean(axis=0)
    return white


def _aperture(shape: tuple[int, int], corners: Double, shrink: float) -> Bool:
    """Return the pixels between the lids, the lashes' width away from them."""
    dense = _smooth_outline(corners)
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [np.rint(dense * 16).astype(np.int32)], 1, shift=4)
    depth = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
    inside: Bool = depth > min(shrink, 0.4 * float(depth.max()))
    return inside


def _smooth_outline(corners: Double) -> Double:
    """Return a closed curve through the points (Catmull–Rom), eight samples a piece."""
    before, after = np.roll(corners, 1, axis=0), np.roll(corners, -1, axis=0)
    beyond = np.roll(corners, -2, axis=0)
    t = (np.arange(8) / 8)[:, None, None]
    curve = 0.5 * (
        2 * corners
        + (after - before) * t
        + (2 * before - 5 * corners + 4 * after - beyond) * t**2
        + (3 * corners - before - 3 * after + beyond) * t**3
    )
    smooth: Double = curve.transpose(1, 0, 2).reshape(-1, 2)
    return smooth


def _pupil(grey: Float, inside: Bool, x: Double, y: Double, radius: float) -> Double:
    """Return the centre of the darkest disc of iris size whose middle lies in the opening."""
    bright = np.percentile(grey[inside], 80)
    dark = np.where(inside, np.clip(bright - grey, 0.0, None), 0.0).astype(np.float32)
    side = 2 * int(np.ceil(radius)) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)).astype(np.float32)
    score = cv2.filter2D(dark, -1, disc, borderType=cv2.BORDER_CONSTANT)
    best = max(float(score[inside].max()), 1e-6)
    weight = np.where(inside, score / best, 0.0).astype(np.float64) ** 8 + 1e-9 * inside
    centre: Double = np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()
    return centre


def _profile(window: Float, inside: Bool, radius: Double) -> Float:
    """Return the mean colour at each whole distance from the pupil, (R, 3); gaps are bridged."""
    ring = np.rint(radius[inside]).astype(int)
    count = np.bincount(ring)
    seen = count > 0
    colours = np.stack(
        [np.bincount(ring, window[:, :, c][inside]) / np.maximum(count, 1) for c in range(3)],
        axis=1,
    )
    at = np.arange(len(count))
    bridged = np.stack([np.interp(at, at[seen], colours[seen, c]) for c in range(3)], axis=1)
    # Beyond the corners the lids' shadow would be carried on: stop at the last bright ring.
    smooth = cv2.GaussianBlur(bridged.astype(np.float32), (1, 5), 1.0)
    last = int(smooth[len(smooth) // 2 :].mean(axis=1).argmax()) + len(smooth) // 2
    smooth[last:] = smooth[last]
    profile: Float = smooth
    return profile
