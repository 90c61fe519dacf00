"""How far a training of a generator has come."""

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
