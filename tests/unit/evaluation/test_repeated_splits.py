"""Intervals over repeated splits of the same people."""

import numpy as np
import pytest

from mien.core.errors import Invalid
from mien.evaluation.repeated_splits import repeated_splits_interval


def draw(rng, splits=5, people=100, tested=57, split_sd=0.06, person_sd=0.15, noise=0.2):
    """Five splits that test 57 of 100 people; the true gain is zero."""
    of_person = rng.normal(0, person_sd, people)
    return [
        {
            str(p): shift + of_person[p] + rng.normal(0, noise)
            for p in rng.choice(people, tested, replace=False)
        }
        for shift in rng.normal(0, split_sd, splits)
    ]


@pytest.mark.parametrize("split_sd", [0.0, 0.06])
def test_it_covers_the_truth_about_as_often_as_it_says(split_sd):
    """Of 400 draws with no gain the 95 % interval holds zero in 92 to 100 %."""
    rng = np.random.default_rng(3)
    found = [repeated_splits_interval(draw(rng, split_sd=split_sd)) for _ in range(400)]
    assert 0.92 <= np.mean([i.low <= 0 <= i.high for i in found]) <= 1.0


def test_it_is_wider_than_if_people_were_counted_anew():
    """People who are tested in several splits count once, whatever the splits' means say."""
    shared = [{str(p): (0.5 if p % 2 else -0.5) for p in range(20)} for _ in range(5)]
    found = repeated_splits_interval(shared)
    assert found.estimate == pytest.approx(0.0)
    assert found.high > 0.2


def test_one_split_or_person_is_refused():
    """Without repetition there is no interval."""
    with pytest.raises(Invalid) as error:
        repeated_splits_interval([{"a": 0.1, "b": 0.2}])
    assert error.value.reason == "ONE_SPLIT"
    with pytest.raises(Invalid) as error:
        repeated_splits_interval([{"a": 0.1}, {"a": 0.2}])
    assert error.value.reason == "ONE_SUBJECT"
