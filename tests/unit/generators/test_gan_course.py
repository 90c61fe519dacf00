"""How far a training of a generator has come."""

import pytest

from mien.generators.gan_course import Course


def test_a_better_figure_of_any_kind_starts_the_count_again():
    """More fidelity and less distance are better; `fidelity` is no `fid`."""
    course = Course(run="run", micro=1)
    for fidelity, distance in ((0.2, 3.0), (0.6, 3.4), (0.7, 3.5)):
        course.judge({"fidelity": fidelity, "fd/judge": distance})
        assert course.since_best == 0
    course.judge({"fidelity": 0.6, "fd/judge": 3.1})
    assert course.since_best == 1
    course.judge({"fidelity": 0.6, "fd/judge": 2.9})
    assert course.since_best == 0
    assert course.figures == {"fidelity": 0.7, "fd/judge": 2.9}


@pytest.mark.parametrize(
    ("shown", "best"),
    [
        ([(0.2, 3.0), (0.6, 3.4), (0.7, 3.5)], [True, True, True]),  # clearer by far
        ([(0.7, 3.0), (0.69, 2.0), (0.5, 1.0)], [True, True, False]),  # nearer, but unclear
        ([(0.7, 3.0), (0.71, 3.1), (0.71, 2.9)], [True, False, True]),  # clear enough: nearer
        ([(0.7, 3.0), (0.685, 2.0), (0.715, 3.0)], [True, True, True]),  # kept ones fell behind
    ],
)
def test_the_best_is_clear_and_then_near(shown, best):
    """Of the evaluations as faithful as any, the one nearest to real faces is kept."""
    course = Course(run="run", micro=1)
    assert [course.judge({"fidelity": f, "fd": d}) for f, d in shown] == best


def test_shares_alone_or_distances_alone_choose_too():
    """More of a share than chance explains, less of a distance."""
    course = Course(run="run", micro=1)
    assert [course.judge({"fidelity": f}) for f in (0.3, 0.5, 0.5, 0.4)] == [
        True,
        True,
        False,
        False,
    ]
    course = Course(run="run", micro=1)
    assert [course.judge({"fd": d}) for d in (3.0, 4.0, 2.0)] == [True, False, True]
