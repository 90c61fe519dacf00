"""Augmentation: maps, resampling on the processor and on a device."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mien.recognition.augment import GEOMETRIC, PLAIN, Geometry, draw_maps, warp, warp_on_device
from mien.recognition.batches import Pool
from mien.training.device import place
from mien.training.tensors import planes, to_images, to_network


def smooth(count=4, size_px=64, seed=0):
    coarse = np.random.default_rng(seed).uniform(0, 255, (count, 6, 6)).astype(np.float32)
    wide = [cv2.resize(c, (size_px, size_px), interpolation=cv2.INTER_CUBIC) for c in coarse]
    return np.clip(np.stack(wide), 0, 255).astype(np.uint8)


@given(seed=st.integers(0, 2**32), size_px=st.integers(8, 200))
def test_no_geometry_is_the_identity(seed, size_px):
    """With every range at zero the map is the identity and no pixel changes."""
    maps = draw_maps(PLAIN, 3, size_px, seed)
    assert np.allclose(maps, np.eye(2, 3), atol=1e-9)
    images = np.random.default_rng(seed).integers(0, 256, (3, size_px, size_px), dtype=np.uint8)
    assert np.array_equal(warp(images, maps), images)


@given(seed=st.integers(0, 2**32))
def test_maps_follow_the_seed(seed):
    """The same seed draws the same maps, another seed others."""
    first = draw_maps(GEOMETRIC, 5, 64, seed)
    assert np.array_equal(first, draw_maps(GEOMETRIC, 5, 64, seed))
    assert not np.array_equal(first, draw_maps(GEOMETRIC, 5, 64, seed + 1))


@given(seed=st.integers(0, 2**32))
def test_faces_stay_in_the_picture(seed):
    """The centre of the face moves by no more than a fifth of the side; scale stays moderate."""
    maps = draw_maps(GEOMETRIC, 16, 64, seed)
    centre = maps @ np.array([31.5, 31.5, 1.0])
    assert np.abs(centre - 31.5).max() < 0.2 * 64
    areas = np.abs(np.linalg.det(maps[:, :, :2]))
    assert ((areas > 0.6) & (areas < 1.25)).all()


def test_reflection_alone_flips_left_and_right():
    """A certain reflection without anything else is exactly a flip."""
    images = smooth()
    maps = draw_maps(replace(PLAIN, reflection=1.0), 4, 64, 0)
    assert np.array_equal(warp(images, maps), images[:, :, ::-1])


def test_half_are_reflected():
    """Every second face is reflected, on average."""
    maps = draw_maps(GEOMETRIC, 4000, 64, 0)
    assert (maps[:, 0, 0] < 0).mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    "geometry",
    [
        GEOMETRIC,
        Geometry(0.0, 0.2, 0.0, 0.0, 0.0),
        Geometry(0.0, 0.0, 45.0, 0.0, 0.0),
        Geometry(0.0, 0.0, 0.0, 0.3, 0.3),
    ],
)
@pytest.mark.parametrize("channels", ["gray", "rgb"])
def test_devices_agree(geometry, channels):
    """OpenCV's resampling and the device's differ by rounding only."""
    images = smooth(6)
    if channels == "rgb":
        images = np.stack([images, images[:, ::-1], 255 - images], axis=3)
    maps = draw_maps(geometry, 6, 64, 1)
    ours = to_network(planes(torch.from_numpy(warp(images, maps))))
    theirs = warp_on_device(to_network(planes(torch.from_numpy(images))), maps)
    assert (ours - theirs).abs().max() * 127.5 < 3.0


def test_labels_are_kept(make_faces):
    """A batch's labels and affect are those of its rows, whatever is done to the images."""
    faces = make_faces(30)
    pool = Pool.of(faces, place("cpu", "fp32"))
    rows = np.array([7, 3, 3, 29])
    plain, labels, affect = pool.batch(rows)
    moved, moved_labels, moved_affect = pool.batch(rows, GEOMETRIC, 5)
    assert torch.equal(labels, torch.from_numpy(faces.labels[rows]))
    assert torch.equal(labels, moved_labels)
    assert torch.equal(affect, moved_affect)
    assert plain.shape == moved.shape == (4, 1, 16, 16)
    assert not torch.equal(plain, moved)
    assert not torch.equal(moved[1], moved[2]), "the same face twice is moved apart"
    assert np.array_equal(faces.images, make_faces(30).images), "the faces at rest are untouched"


def test_every_level_survives_the_network_and_back():
    """All 256 values become floats in [-1, 1], evenly, and come back as they were."""
    values = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    floats = to_network(planes(values))
    assert (float(floats.min()), float(floats.max())) == (-1.0, 1.0)
    assert torch.allclose(floats.flatten().diff(), torch.tensor(2 / 255), atol=1e-6)
    assert torch.equal(to_images(floats), values)
