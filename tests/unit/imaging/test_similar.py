"""Near-duplicates."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mien.core.arrays import UInt8
from mien.core.errors import Invalid
from mien.imaging.similar import (
    Hashes,
    hamming_nearest,
    near_pairs,
    perceptual_hashes,
    pixel_nearest,
)


@pytest.fixture(scope="module")
def faces(face):
    return np.stack([cv2.cvtColor(face(s, 64).image, cv2.COLOR_RGB2GRAY) for s in range(12)])


def textures(count: int, seed: int = 0) -> UInt8:
    """Smooth pictures, all different."""
    rng = np.random.default_rng(seed)
    stack = np.stack([cv2.GaussianBlur(rng.normal(size=(64, 64)), (0, 0), 6) for _ in range(count)])
    low, high = stack.min(axis=(1, 2), keepdims=True), stack.max(axis=(1, 2), keepdims=True)
    scaled: UInt8 = ((stack - low) / (high - low) * 255).astype(np.uint8)
    return scaled


def bits(one: Hashes, two: Hashes) -> UInt8:
    counted: UInt8 = np.bitwise_count(one ^ two)
    return counted


def test_the_same_picture_has_the_same_hash_in_any_company():
    """Alone, in a stack larger than a batch, in colour."""
    images = textures(1500)
    hashes = perceptual_hashes(images)
    assert hashes.dtype == np.uint64
    assert perceptual_hashes(images[1400:1401])[0] == hashes[1400]
    colour = np.repeat(images[:5, ..., None], 3, axis=3)
    assert bits(perceptual_hashes(colour), hashes[:5]).max() <= 1
    assert len(np.unique(hashes)) == 1500


@pytest.mark.parametrize("kind", ["noise", "brighter", "contrast", "jpeg", "resized"])
def test_small_changes_turn_few_bits(kind):
    """While other pictures are far away."""
    images = textures(60)
    if kind == "noise":
        changed = images + np.random.default_rng(1).normal(0, 4, images.shape)
    elif kind == "brighter":
        changed = images.astype(float) * 0.9 + 20
    elif kind == "contrast":
        changed = 128 + (images.astype(float) - 128) * 0.7
    elif kind == "jpeg":
        changed = np.stack(
            [
                cv2.imdecode(cv2.imencode(".jpg", i, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], 0)
                for i in images
            ]
        )
    else:
        changed = np.stack([cv2.resize(i, (150, 150)) for i in images])
    seen = np.clip(changed, 0, 255).astype(np.uint8)
    near = bits(perceptual_hashes(images), perceptual_hashes(seen))
    far = bits(perceptual_hashes(images[:-1]), perceptual_hashes(images[1:]))
    assert near.mean() < 4
    assert far.mean() > 20


def test_different_people_have_different_hashes(faces):
    """Even aligned faces of one renderer."""
    assert len(np.unique(perceptual_hashes(faces))) == len(faces)


def test_a_flat_picture_hashes_to_nothing():
    """Rounding noise is no structure."""
    for value in (0, 7, 128, 255):
        assert perceptual_hashes(np.full((2, 50, 40), value, np.uint8)).tolist() == [0, 0]


def test_nearest_hashes_are_those_of_a_plain_search():
    """Chunks and the first of equals, against a double loop."""
    rng = np.random.default_rng(0)
    base = rng.integers(0, 2**63, 200, dtype=np.uint64)
    queries = np.concatenate([base[[5, 9]], rng.integers(0, 2**63, 50, dtype=np.uint64)])
    nearest, distance = hamming_nearest(queries, base)
    for query, found, apart in zip(queries.tolist(), nearest, distance, strict=True):
        all_bits = [(query ^ other).bit_count() for other in base.tolist()]
        assert apart == min(all_bits)
        assert found == all_bits.index(min(all_bits))
    assert distance[:2].tolist() == [0, 0]


def test_a_picture_is_not_its_own_neighbour():
    """Among themselves, in hashes and in pixels."""
    images = textures(30)
    images[17] = images[3]
    hashes = perceptual_hashes(images)
    nearest, distance = hamming_nearest(hashes, hashes, same=True)
    assert (nearest[3], nearest[17], distance[3]) == (17, 3, 0)
    assert (nearest != np.arange(30)).all()
    nearest, apart = pixel_nearest(images, images, same=True)
    assert (nearest[3], nearest[17], apart[3]) == (17, 3, 0.0)
    assert (nearest != np.arange(30)).all()


def test_pairs_are_listed_once():
    """Sorted, each pair of near hashes, across chunks."""
    hashes = np.arange(5000, dtype=np.uint64) << np.uint64(10)
    hashes[4999] = hashes[2] ^ np.uint64(1)
    pairs = near_pairs(hashes[[2, 100, 4999]], max_bits=1)
    assert pairs.tolist() == [[0, 2]]
    many = near_pairs(hashes, max_bits=0)
    assert many.shape == (0, 2)
    assert [2, 4999] in near_pairs(hashes, max_bits=1).tolist()
    assert near_pairs(np.empty(0, np.uint64), max_bits=3).shape == (0, 2)


def test_nearest_pixels_are_those_of_a_plain_search():
    """Chunks of queries and base, distances in gray levels."""
    base, queries = textures(4200, 1)[:, ::8, ::8], textures(1100, 2)[:, ::8, ::8]
    queries[1050] = base[4100]
    nearest, distance = pixel_nearest(queries, base)
    for row in (0, 600, 1023, 1024, 1099):
        gaps = np.sqrt(((base.astype(float) - queries[row]) ** 2).mean(axis=(1, 2)))
        assert distance[row] == pytest.approx(gaps.min(), rel=1e-5)
        assert nearest[row] == gaps.argmin()
    assert (nearest[1050], distance[1050]) == (4100, 0.0)


def test_what_cannot_be_searched_is_refused():
    """Wrong shapes, types, and nothing to search in."""
    images = textures(3)
    for wrong in (images[0], images.astype(float), np.zeros((2, 4, 4, 4), np.uint8)):
        with pytest.raises(Invalid):
            perceptual_hashes(wrong)
    with pytest.raises(Invalid):
        pixel_nearest(images, images[:, :32])
    with pytest.raises(Invalid):
        pixel_nearest(images, images[:0])
    with pytest.raises(Invalid):
        hamming_nearest(perceptual_hashes(images[:1]), perceptual_hashes(images[:1]), same=True)
