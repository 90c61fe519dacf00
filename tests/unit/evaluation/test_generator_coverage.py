"""PRDC on planted sets: each figure has to point the right way."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.core.errors import Invalid
from mien.evaluation.generator_coverage import coverage, prdc


def normal(n, dims, seed, shift=0.0, scale=1.0):
    drawn = np.random.default_rng(seed).standard_normal((n, dims))
    return (drawn * scale + shift).astype(np.float32)


def by_definition(real, synthetic, k):
    """Naeem et al. 2020 and Kynkäänniemi et al. 2019, word by word, with loops."""

    def distance(a, b):
        return np.sqrt(np.square(a.astype(np.float64) - b.astype(np.float64)).sum())

    def reach(points):
        return [
            sorted(distance(p, q) for j, q in enumerate(points) if j != i)[k - 1]
            for i, p in enumerate(points)
        ]

    real_reach, synthetic_reach = reach(real), reach(synthetic)
    inside = [
        [distance(x, y) < r for y in synthetic] for x, r in zip(real, real_reach, strict=True)
    ]
    recalled = [
        any(distance(x, y) < r for y, r in zip(synthetic, synthetic_reach, strict=True))
        for x in real
    ]
    return {
        "precision": np.mean([any(row[j] for row in inside) for j in range(len(synthetic))]),
        "recall": np.mean(recalled),
        "density": sum(map(sum, inside)) / (k * len(synthetic)),
        "coverage": np.mean([any(row) for row in inside]),
    }


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.floats(0.2, 2.0))
def test_figures_are_those_of_the_definition(seed, k, scale):
    """Blocks and expanded squares give what loops over the definition give."""
    real, synthetic = normal(40, 5, seed), normal(30, 5, seed + 1, shift=0.3, scale=scale)
    found = prdc(real, synthetic, k=k).to_json()
    assert found == pytest.approx(by_definition(real, synthetic, k))


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (0.3, 1.0), (0.0, 0.6), (0.0, 1.5)])
def test_figures_agree_with_the_published_package(shift, scale, capsys):
    """All four figures of ``prdc`` 0.2, precision and recall in their places."""
    package = pytest.importorskip("prdc")
    real, synthetic = normal(600, 12, 0), normal(500, 12, 1, shift=shift, scale=scale)
    theirs = package.compute_prdc(real, synthetic, 5)
    capsys.readouterr()  # it prints
    assert prdc(real, synthetic).to_json() == pytest.approx(
        {k: float(v) for k, v in theirs.items()}
    )


def test_more_faces_than_a_block_are_judged_alike():
    """2,500 faces (several blocks) agree with the package as well."""
    package = pytest.importorskip("prdc")
    real, synthetic = normal(2500, 6, 0), normal(2300, 6, 1, scale=0.8)
    theirs = package.compute_prdc(real, synthetic, 5)
    assert prdc(real, synthetic).to_json() == pytest.approx(
        {k: float(v) for k, v in theirs.items()}
    )


def test_identical_sets_are_perfect():
    """A set against itself: precision, recall and coverage 1, density about 1."""
    faces = normal(500, 16, 0)
    found = prdc(faces, faces)
    assert (found.precision, found.recall, found.coverage) == (1.0, 1.0, 1.0)
    assert found.density == pytest.approx(1.0, abs=0.05)


def test_collapse_lowers_recall_and_coverage_but_not_precision():
    """One good face over and over: precise, but nothing is covered."""
    real = normal(1000, 8, 0)
    collapsed = np.repeat(real.mean(0, keepdims=True), 1000, 0) + normal(1000, 8, 1, scale=0.01)
    found = prdc(real, collapsed.astype(np.float32))
    assert found.precision > 0.99
    assert found.recall < 0.02
    assert found.coverage < 0.1


def test_a_lost_mode_lowers_recall_and_coverage_by_its_share():
    """Three of four well-parted groups are made: three quarters of the real faces are reached."""
    centres = 50 * np.eye(4, 8)
    real = normal(1000, 8, 0) + np.repeat(centres, 250, 0)
    synthetic = normal(750, 8, 1) + np.repeat(centres[:3], 250, 0)
    found = prdc(real.astype(np.float32), synthetic.astype(np.float32))
    assert found.precision > 0.85
    assert 0.6 < found.recall <= 0.75
    assert 0.65 < found.coverage <= 0.75


def test_noise_lowers_precision_and_density():
    """Half of the generated faces are far from every real one: precision halves, coverage stays."""
    real = normal(1000, 8, 0)
    half = normal(500, 8, 1)
    noise = normal(500, 8, 2, shift=100.0)
    clean, noisy = prdc(real, normal(1000, 8, 3)), prdc(real, np.concatenate([half, noise]))
    assert noisy.precision == pytest.approx(clean.precision / 2, abs=0.03)
    assert noisy.density == pytest.approx(clean.density / 2, abs=0.06)
    assert noisy.coverage > 0.75 * clean.coverage


def test_coverage_stands_beside_other_peoples_real_faces():
    """Faces of the same distribution reach what real faces reach; shifted ones do not."""
    real = normal(1200, 8, 0)
    same = coverage(real, normal(2000, 8, 1), space="x")
    assert same.n == 600
    assert same.synthetic.coverage == pytest.approx(same.real.coverage, abs=0.03)
    shifted = coverage(real, normal(2000, 8, 1, shift=2.0), space="x")
    assert shifted.synthetic.coverage < 0.5 * shifted.real.coverage
    assert shifted.to_json()["synthetic"]["recall"] == shifted.synthetic.recall


def test_copies_of_a_person_do_not_flatter_the_real_side():
    """Ten near-copies of each person: by person the real faces reach less than by face."""
    rng = np.random.default_rng(0)
    people = np.repeat(rng.standard_normal((60, 8)), 10, axis=0)
    faces = (people + 0.01 * rng.standard_normal(people.shape)).astype(np.float32)
    by_person = coverage(faces, faces, space="x", subjects=[f"s{i // 10}" for i in range(600)])
    assert by_person.real.coverage < 0.2
    assert coverage(faces, faces, space="x").real.coverage > 0.5


def test_too_few_faces_are_refused():
    """K neighbours need k + 1 faces, and k is at least 1."""
    with pytest.raises(Invalid) as caught:
        prdc(normal(5, 3, 0), normal(50, 3, 1), k=5)
    assert caught.value.reason == "TOO_FEW_FACES"
    with pytest.raises(Invalid) as caught:
        prdc(normal(50, 3, 0), normal(50, 3, 1), k=0)
    assert caught.value.reason == "NEIGHBOURS"
