"""Identity kept and identities distinct, on people that are planted as points."""

import numpy as np
import pytest

from mien.core.errors import Invalid
from mien.evaluation.generator_identity import IdentityKept, distinct, separation


def people(count, seed, *, expression=1.0, self_noise=0.3, classes=4, dims=16):
    """Features = person + expression + noise: (count × classes, dims), names, labels."""
    rng = np.random.default_rng(seed)
    who = np.repeat(rng.standard_normal((count, dims)), classes, axis=0)
    moved = np.tile(expression * rng.standard_normal((classes, dims)), (count, 1))
    noise = self_noise * rng.standard_normal(who.shape)
    names = [f"p{i // classes}" for i in range(count * classes)]
    labels = np.tile(np.arange(classes), count)
    return (who + moved + noise).astype(np.float32), names, labels


def test_people_that_stay_themselves_are_told_apart():
    """One person's faces are nearer than two people's, although expressions move them more."""
    found = separation(*people(60, 0, expression=0.3, self_noise=0.1))
    assert found.auc > 0.99
    assert found.within < 0.5 * found.between


def test_expressions_do_not_pass_for_identity():
    """Without any person in the features the figure is 0.5, however strong expressions are."""
    features, names, labels = people(100, 1, expression=5.0)
    features -= features.reshape(100, 4, -1).mean(axis=1).repeat(4, axis=0)
    rng = np.random.default_rng(0)
    features = (features[:4][labels] + rng.standard_normal(features.shape)).astype(np.float32)
    assert separation(features, names, labels).auc == pytest.approx(0.5, abs=0.05)


def test_lost_identity_lowers_the_figure():
    """The more a face is its own and not its person's, the lower the figure."""
    figures = [separation(*people(80, 2, self_noise=n)).auc for n in (0.1, 1.0, 5.0)]
    assert figures[0] > figures[1] > figures[2]
    assert figures[2] < 0.6
    kept = IdentityKept("x", separation(*people(20, 0)), separation(*people(20, 1)))
    assert kept.to_json()["real"]["pairs"] > 0


def test_pairs_are_capped():
    """No more pairs than asked for are compared."""
    assert separation(*people(60, 0), pairs=50).pairs == 50


def test_real_people_are_alike_once_in_a_thousand():
    """As many other people of one distribution: about 0.1 % lie nearer than the limit."""
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, 3000, 12)).astype(np.float32)
    found = distinct(first, second, space="x")
    assert found.alike < 0.005
    assert found.median == pytest.approx(found.real_median, rel=0.03)
    assert found.n == 3000
    assert found.to_json()["alike"] == found.alike


def test_repeated_identities_are_seen():
    """Every identity made twice, nearly alike: all of them are too near."""
    rng = np.random.default_rng(0)
    real = rng.standard_normal((1000, 12)).astype(np.float32)
    half = rng.standard_normal((500, 12)).astype(np.float32)
    twice = np.concatenate([half, half + 1e-3])
    assert distinct(twice, real, space="x").alike == 1.0


def test_expressions_are_compared_each_within_its_own():
    """A person's own faces, hardly changed by the expression, are nobody else's."""
    rng = np.random.default_rng(0)
    people = rng.standard_normal((2, 600, 12)).astype(np.float32)
    mine, real = (np.concatenate([p, p + 1e-3]) for p in people)
    labels = np.repeat([0, 1], 600)
    assert distinct(mine, real, space="x", labels=(labels, labels)).alike < 0.01
    twins = np.where(labels[:, None] == 1, mine, mine[np.arange(1200) // 2 * 2])
    found = distinct(twins, real, space="x", labels=(labels, labels))
    assert found.alike == pytest.approx(0.5, abs=0.01)
    assert found.n == 600


def test_only_expressions_of_both_are_compared():
    """What only one side shows is left out; nothing in common is refused."""
    rng = np.random.default_rng(0)
    mine, real = rng.standard_normal((2, 60, 12)).astype(np.float32)
    several = np.repeat([0, 1, 2], 20)
    assert distinct(mine, real, space="x", labels=(several, several + 2)).n == 20
    with pytest.raises(Invalid) as caught:
        distinct(mine, real, space="x", labels=(several, several + 3))
    assert caught.value.reason == "TOO_FEW_FACES"


def test_number_of_identities_does_not_matter():
    """Many identities are compared as few when there are few real people."""
    rng = np.random.default_rng(0)
    many = rng.standard_normal((4000, 12)).astype(np.float32)
    few = rng.standard_normal((300, 12)).astype(np.float32)
    found = distinct(many, few, space="x")
    assert found.n == 300
    assert found.median == pytest.approx(found.real_median, rel=0.06)


@pytest.mark.parametrize(
    ("names", "labels", "reason"),
    [
        (["a"] * 4, [0, 1, 0, 1], "ONE_SUBJECT"),
        (["a", "b", "c", "d"], [0, 1, 0, 1], "NO_PAIRS"),
        (["a", "b"], [0, 1, 0, 1], "UNEQUAL_LENGTHS"),
    ],
)
def test_what_has_no_pairs_is_refused(names, labels, reason):
    """One identity, or one face of each: nothing to compare."""
    with pytest.raises(Invalid) as caught:
        separation(np.zeros((4, 3), np.float32), names, np.array(labels))
    assert caught.value.reason == reason
