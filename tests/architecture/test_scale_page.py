"""The page of costs shows what the model computes, and the model is one."""

from dataclasses import fields, replace
from pathlib import Path

import pytest

from benchmarks import scale_model
from benchmarks.scale_model import SAID, Figures, sweep_s, tables, trial_s, whole_s

PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "scale.md"


@pytest.mark.parametrize("part", tables(Figures()))
def test_the_page_holds_what_the_model_prints(part):
    """Line by line; `python -m benchmarks.scale_model` prints them anew."""
    assert part in PAGE.read_text(encoding="utf-8")


def test_every_figure_says_where_it_is_from():
    """Its unit, and one of four marks."""
    assert [f.name for f in fields(Figures)] == list(SAID)
    assert {mark for _, mark, _ in SAID.values()} == {
        "measured",
        "counted",
        "published",
        "assumed",
    }


def test_more_gpus_are_never_slower_and_stop_helping():
    """A sweep ends no later with more GPUs, and no sooner with more than it has trials."""
    known = Figures()
    walls = [sweep_s(known, 60, gpus) for gpus in (1, 2, 8, 50, 64, 1000)]
    assert walls == sorted(walls, reverse=True)
    assert walls[-1] == walls[-2] == walls[-3]


def test_a_trial_is_never_faster_than_its_floor():
    """However fast the GPU, steps take their launch time; however short that, the arithmetic."""
    fast = replace(Figures(), peak_tflops=1e9)
    steps = 60_000 / fast.batch
    assert trial_s(fast, 60, 1) >= steps * fast.launch_ms / 1e3
    slow = replace(Figures(), launch_ms=0.0, used=0.01)
    flop = 60_000 * slow.backward * slow.forward_mflop * 1e6
    assert trial_s(slow, 60, 1) >= flop / (0.01 * slow.peak_tflops * 1e12)


def test_the_shape_of_the_networks_is_counted():
    """The figure marked as counted is the network's own."""
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    from mien.core.expression import EKMAN_SIX
    from mien.recognition.networks import build
    from mien.recognition.spec import ClassifierSpec

    network = build(ClassifierSpec("seed", EKMAN_SIX, size_px=64)).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 1, 64, 64))
    assert counter.get_total_flops() / 1e6 == pytest.approx(Figures().forward_mflop, rel=1e-3)


def test_everything_is_the_sum_of_its_parts():
    """Nothing is forgotten between the pool and the verdict."""
    known = Figures()
    for gpus in scale_model.GPUS:
        parts = (
            scale_model.faces_s(known, gpus)
            + scale_model.version_s(known, gpus)
            + scale_model.prepare_s(known)
            + sweep_s(known, 60, gpus)
            + known.decide_s
        )
        assert whole_s(known, 60, gpus) == pytest.approx(parts)
