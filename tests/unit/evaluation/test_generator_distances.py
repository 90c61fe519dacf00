"""Fréchet distance and KID on planted sets with known answers."""

import numpy as np
import pytest
import torch

from mien.core.errors import Invalid
from mien.evaluation.generator_distances import frechet, frechet_distance, kid, project


def normal(n, dims, seed, shift=0.0, scale=1.0):
    drawn = np.random.default_rng(seed).standard_normal((n, dims))
    return (drawn * scale + shift).astype(np.float32)


def test_distance_of_a_set_to_itself_is_zero():
    """Identical sets are 0 apart, to rounding."""
    faces = normal(300, 16, 0)
    assert frechet_distance(faces, faces) == pytest.approx(0, abs=1e-9)


def test_distance_of_two_gaussians_done_by_hand():
    """|Δμ|² + Σ (σ₁ − σ₂)² for independent coordinates: 8·1² + 8·(2 − 1)², many faces."""
    found = frechet_distance(normal(200_000, 8, 0), normal(200_000, 8, 1, shift=1.0, scale=2.0))
    assert found == pytest.approx(16.0, rel=0.02)


def test_distance_agrees_with_torchmetrics():
    """The same figure as torchmetrics computes from the same features."""
    image = pytest.importorskip("torchmetrics.image.fid")
    first, second = normal(400, 24, 0), normal(300, 24, 1, shift=0.3, scale=1.4)
    theirs = image.FrechetInceptionDistance(feature=torch.nn.Flatten(), input_img_size=(1, 1, 24))
    theirs.num_features = 24
    theirs.set_dtype(torch.float64)
    wanted = image._compute_fid(
        *(
            torch.as_tensor(v)
            for v in (first.mean(0), np.cov(first.T), second.mean(0), np.cov(second.T))
        )
    )
    assert frechet_distance(first, second) == pytest.approx(float(wanted), rel=1e-4)


@pytest.mark.parametrize(("n", "bias"), [(3000, 2.9), (200, 43.0)])
def test_small_samples_bias_the_distance_and_the_floor_says_so(n, bias):
    """Two samples of N(0, I) in 128 dims are 2.9 apart at 3,000 faces and 43 at 200."""
    assert frechet_distance(normal(n, 128, 0), normal(n, 128, 1)) == pytest.approx(bias, rel=0.05)
    found = frechet(normal(2 * n, 128, 0), normal(n, 128, 1), space="normal")
    assert found.n == n
    assert found.floor == pytest.approx(bias, rel=0.05)
    assert abs(found.excess) < 0.05 * bias


def test_shifted_faces_are_farther_than_the_floor():
    """A shift of δ in each of 16 dims adds 16 δ² to the floor."""
    found = frechet(normal(2000, 16, 0), normal(1000, 16, 1, shift=0.5), space="normal")
    assert found.excess == pytest.approx(4.0, rel=0.1)
    assert found.to_json()["floor"] == found.floor
    assert found.name == "fd/normal"


def test_people_are_never_on_both_sides_of_the_floor():
    """Ten near-copies of each person: split by face the floor would be lower than by person."""
    rng = np.random.default_rng(0)
    people = np.repeat(rng.standard_normal((60, 16)), 10, axis=0)
    faces = (people + 0.01 * rng.standard_normal(people.shape)).astype(np.float32)
    subjects = [f"s{i // 10}" for i in range(600)]
    by_person = frechet(faces, faces, space="x", subjects=subjects)
    by_face = frechet(faces, faces, space="x")
    assert by_person.floor > 3 * by_face.floor


def test_wide_features_are_projected_by_a_fixed_matrix():
    """Wide features are projected to 128 dims, always alike, keeping distances on average."""
    faces = normal(200, 1000, 0)
    first, second = project(faces), project(faces)
    assert first.shape == (200, 128)
    assert np.array_equal(first, second)
    kept = np.square(first[:100] - first[100:]).sum(1).mean()
    assert kept == pytest.approx(np.square(faces[:100] - faces[100:]).sum(1).mean(), rel=0.1)
    assert frechet(faces, faces, space="x").projected_from == 1000
    assert project(faces[:, :64]) is not faces
    assert np.array_equal(project(faces[:, :64]), faces[:, :64])


def test_kid_is_the_unbiased_estimate_done_by_hand():
    """Sums over all pairs, without a face's pair with itself, give the same figure."""
    x, y = normal(30, 6, 0).astype(np.float64), normal(25, 6, 1, shift=0.4).astype(np.float64)

    def kernel(a, b):
        return (a @ b / 6 + 1) ** 3

    def within(v):
        pairs = [kernel(a, b) for i, a in enumerate(v) for j, b in enumerate(v) if i != j]
        return np.mean(pairs)

    by_hand = within(x) + within(y) - 2 * np.mean([kernel(a, b) for a in x for b in y])
    found = kid(x.astype(np.float32), y.astype(np.float32), space="x")
    assert found.estimate == pytest.approx(by_hand, rel=1e-5)


def test_kid_agrees_with_torchmetrics():
    """The same figure as torchmetrics' polynomial MMD."""
    theirs = pytest.importorskip("torchmetrics.image.kid")
    x, y = normal(200, 12, 0), normal(200, 12, 1, shift=0.3)
    wanted = theirs.poly_mmd(torch.as_tensor(x).double(), torch.as_tensor(y).double())
    assert kid(x, y, space="x").estimate == pytest.approx(float(wanted), rel=1e-6)


def test_kid_interval_covers_the_truth():
    """Of 120 samples from two known distributions about 95 % of the intervals hold the truth."""
    shift = 0.5
    # Truth from the kernel's moments, by one large sample.
    truth = kid(
        normal(4000, 4, 10_000), normal(4000, 4, 10_001, shift=shift), space="x", subsets=2
    ).estimate
    inside = 0
    for seed in range(120):
        x, y = normal(80, 4, 2 * seed), normal(80, 4, 2 * seed + 1, shift=shift)
        found = kid(x, y, space="x", subsets=100)
        inside += found.low <= truth <= found.high
    assert 105 <= inside <= 120


def test_kid_of_one_distribution_is_zero_on_average_and_inside_its_interval():
    """Without bias: over 100 pairs of samples the mean is 0 within its error, intervals hold 0."""
    found = [
        kid(normal(100, 8, seed), normal(100, 8, seed + 20_000), space="x", subsets=60)
        for seed in range(100)
    ]
    estimates = np.array([f.estimate for f in found])
    assert abs(estimates.mean()) < 3 * estimates.std() / 10
    assert sum(f.low <= 0 <= f.high for f in found) >= 92


def test_kid_is_less_certain_by_person_than_by_face():
    """With ten near-copies of each person the interval by person is wider than by face."""
    rng = np.random.default_rng(1)
    people = np.repeat(rng.standard_normal((40, 8)), 10, axis=0)
    faces = (people + 0.05 * rng.standard_normal(people.shape)).astype(np.float32)
    names = [f"s{i // 10}" for i in range(400)]
    other = normal(400, 8, 3)
    wide = kid(faces, other, space="x", subjects=names)
    narrow = kid(faces, other, space="x")
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


@pytest.mark.parametrize(
    ("real", "synthetic", "reason"),
    [
        (np.zeros((10, 4), np.float32), np.zeros((10, 5), np.float32), "FEATURES"),
        (np.zeros((10, 4), np.float32), np.full((10, 4), np.nan, np.float32), "FEATURES"),
        (np.zeros((3, 4), np.float32), np.zeros((10, 4), np.float32), "TOO_FEW_FACES"),
        (np.zeros((10,), np.float32), np.zeros((10,), np.float32), "FEATURES"),
    ],
)
def test_features_that_cannot_be_compared_are_refused(real, synthetic, reason):
    """Widths that differ, NaN, or too few faces: a clear error, no figure."""
    for measure in (frechet, kid):
        with pytest.raises(Invalid) as caught:
            measure(real, synthetic, space="x")
        assert caught.value.reason == reason


def test_one_person_alone_cannot_be_split():
    """A single subject leaves no floor."""
    with pytest.raises(Invalid) as caught:
        frechet(normal(20, 4, 0), normal(20, 4, 1), space="x", subjects=["a"] * 20)
    assert caught.value.reason == "ONE_SUBJECT"
