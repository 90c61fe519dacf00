"""The training loop of the noise engine: learning, resuming, stopping, refusing."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from mien.core.errors import Corrupt, Exhausted, Interrupted, Invalid, WrongState
from mien.core.expression import EKMAN_SIX
from mien.core.faces import FaceArrays
from mien.generators import noise_fit
from mien.generators.gan_batches import RealFaces
from mien.generators.noise import train
from mien.generators.noise_spec import spec_for
from mien.generators.presets import preset
from mien.generators.trained import TrainHooks, TrainingSet, training_set
from mien.training.checkpoint import load_checkpoint, save_checkpoint
from mien.training.device import place

CLASSES = EKMAN_SIX[:3]
TINY = {
    "width": 4,
    "z_dim": 8,
    "batch": 8,
    "ghost": 4,
    "kimg": 0.08,
    "reg_every": 3,
    "evaluations": 2,
    "device": "cpu",
    "precision": "fp32",
}


def published(name):
    more = {**TINY, "recipe": "published"}
    for key in ("width", "z_dim", "reg_every"):
        del more[key]
    return dict(preset(name, more).params)


RECIPES = {
    "modern": TINY,
    "cgan": published("cgan"),
    "acgan": published("acgan"),
    "wgan": {**TINY, "loss": "wgan_gp", "regulariser": "none", "n_critic": 2, "gamma": 10.0},
    "unconditional": {**TINY, "classes": 0},
    "transition": {**TINY, "transition_start_kimg": 0.02, "transition_kimg": 0.03},
}


def bars(count=24, size_px=16, channels="gray", seed=0):
    """Draw noise with a bright bar whose height is the class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(CLASSES)
    images = rng.integers(60, 120, (count, size_px, size_px), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[4 * label + 2 : 4 * label + 5, 3:-3] += 110
    if channels == "rgb":
        images = np.repeat(images[..., np.newaxis], 3, axis=3)
    people = [f"p{i // len(CLASSES)}" for i in range(count)]
    return training_set(FaceArrays.of(images, labels, subjects=people), CLASSES)


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def after(count):
    """Ask to stop once ``count`` steps have been asked about."""
    asked = iter(range(10**9))
    return lambda: next(asked) >= count


def test_the_modern_recipe_learns_classes():
    """After some steps the generated faces have their bar where the class wants it."""
    sheets = []

    def keep(kimg, faces):
        sheets.append(faces)

    params = {**TINY, "kimg": 1.6, "lr_g": 5e-3, "lr_d": 5e-3, "ema_kimg": 0.1, "reg_every": 4}
    trained = train(bars(48), params, TrainHooks(sheet=keep))
    assert sheets[-1].shape == (10, 3, 16, 16)
    rows = sheets[-1].astype(float).mean(3)
    heights = np.stack([rows[:, :, 4 * k + 2 : 4 * k + 5].mean(2) for k in range(3)], 2)
    assert (heights.argmax(2) == np.arange(3)).mean() > 0.8
    assert trained.kimg == pytest.approx(1.6)


@pytest.mark.parametrize("recipe", RECIPES)
def test_resumed_runs_are_bit_identical(recipe, tmp_path):
    """Stopped twice and resumed from disk: the same losses and bits as uninterrupted."""
    data, params = bars(), RECIPES[recipe]
    straight = train(data, params, TrainHooks())
    for steps in (3, 2):
        hooks = TrainHooks(
            cancelled=after(steps),
            save=lambda state: save_checkpoint(tmp_path, state),
            resume=load_checkpoint(tmp_path),
        )
        with pytest.raises(Interrupted):
            train(data, params, hooks)
    assert load_checkpoint(tmp_path)["progress"]["step"] == 5
    resumed = train(data, params, TrainHooks(resume=load_checkpoint(tmp_path)))
    assert resumed.history == straight.history
    assert same(resumed.weights, straight.weights)
    assert len(straight.history) == 10
    assert np.isfinite([list(h.values()) for h in straight.history]).all()


def test_a_killed_run_goes_on_from_its_last_save(tmp_path):
    """A run killed without warning loses what it did since it last saved, and nothing else."""
    data, saves = bars(), []
    straight = train(data, TINY, TrainHooks())

    def save(state):
        save_checkpoint(tmp_path, state)
        saves.append(state)
        if len(saves) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(data, TINY, TrainHooks(save=save, save_every_s=0.0))
    resumed = train(data, TINY, TrainHooks(resume=load_checkpoint(tmp_path)))
    assert resumed.history == straight.history
    assert same(resumed.weights, straight.weights)


def test_a_state_of_another_run_is_refused():
    """Other options cannot go on from a state, nor can a state that lacks parts."""
    states = []
    train(bars(), TINY, TrainHooks(save=states.append, save_every_s=0.0))
    with pytest.raises(WrongState) as caught:
        train(bars(), {**TINY, "seed": 1}, TrainHooks(resume=states[-1]))
    assert caught.value.reason == "OTHER_RUN"
    short = {k: v for k, v in states[-1].items() if k != "discriminator"}
    with pytest.raises(Corrupt) as broken:
        train(bars(), TINY, TrainHooks(resume=short))
    assert broken.value.reason == "CHECKPOINT"


def test_seed_decides_everything():
    """The same seed gives the same bits whatever ran before; another seed gives others."""
    data = bars()
    first = train(data, TINY, TrainHooks())
    torch.manual_seed(99)
    assert same(train(data, TINY, TrainHooks()).weights, first.weights)
    assert not same(train(data, {**TINY, "seed": 1}, TrainHooks()).weights, first.weights)


def test_diverging_stops_with_the_last_good_state():
    """A loss that is not finite ends the run, and what was saved can be gone on from."""
    saves = []
    params = {**TINY, "lr_g": 1e30, "lr_d": 1e30}
    with pytest.raises(WrongState) as caught:
        train(bars(), params, TrainHooks(save=saves.append))
    assert caught.value.reason == "NAN_LOSS"
    known = [h for state in saves for h in state["progress"]["history"]]
    assert np.isfinite([list(h.values()) for h in known]).all()


class Hungry(nn.Module):
    """A discriminator that has memory for so many faces at a time."""

    def __init__(self, inner, most):
        super().__init__()
        self.inner, self.most = inner, most

    def forward(self, x, labels=None):
        if len(x) > self.most:
            raise torch.OutOfMemoryError("too many faces at a time")
        return self.inner(x, labels)


def with_memory_for(most, monkeypatch):
    real = noise_fit.build

    def build(spec):
        generator, discriminator = real(spec)
        return generator, Hungry(discriminator, most)

    monkeypatch.setattr(noise_fit, "build", build)


def test_out_of_memory_makes_the_parts_smaller_not_the_batch(monkeypatch):
    """When memory runs out the same batch is done in parts, with the same losses up to rounding."""
    data, states = bars(), []
    whole = train(data, TINY, TrainHooks())
    with_memory_for(4, monkeypatch)
    parted = train(data, TINY, TrainHooks(save=states.append, save_every_s=0.0))
    assert states[-1]["progress"]["micro"] == 4
    assert parted.kimg == whole.kimg
    for one, other in zip(parted.history[:3], whole.history[:3], strict=True):
        assert one == pytest.approx(other, rel=1e-3, abs=1e-4)


def test_too_little_memory_for_one_ghost_is_an_error(monkeypatch):
    """When not even the least part fits, the run says so."""
    with_memory_for(2, monkeypatch)
    with pytest.raises(Exhausted) as caught:
        train(bars(), TINY, TrainHooks())
    assert caught.value.reason == "OUT_OF_MEMORY"


def test_training_stops_when_the_figures_no_longer_improve():
    """A figure that stays where it is ends the run after ``patience`` evaluations."""
    shown = []

    def score(faces, labels):
        shown.append((faces.shape, labels))
        return {"fidelity": 0.5, "fd": 3.0 - 0.1 * min(len(shown), 2)}

    params = {**TINY, "kimg": 0.4, "evaluations": 10, "patience": 2}
    trained = train(bars(), params, TrainHooks(score=score))
    assert len(shown) == 4  # the distance, where smaller is better, was last better at the second
    assert trained.kimg == pytest.approx(0.16)
    assert shown[0][0][1:] == (16, 16)
    assert np.bincount(shown[0][1]).max() - np.bincount(shown[0][1]).min() <= 1
    assert trained.history[-1]["fd"] == pytest.approx(2.8)


def test_an_early_stop_keeps_the_weights_that_were_best():
    """Not the last ones; stopped and resumed in between, the same."""

    def scores():
        told = iter([1.0, 0.5, 0.8, 0.9])
        return lambda *_: {"fd": next(told)}

    params = {**TINY, "kimg": 0.4, "evaluations": 10, "patience": 2}
    saves: list[dict] = []
    hooks = TrainHooks(score=scores(), save=saves.append, save_every_s=0.0)
    trained = train(bars(), params, hooks)
    judged = [s for s in saves if "fd" in s["progress"]["history"][-1]]
    assert len(judged) == 4
    same = [
        all(torch.equal(s["average"][k], w) for k, w in trained.weights.items()) for s in judged
    ]
    assert same == [False, True, False, False]
    rest = iter([0.8, 0.9])
    again = TrainHooks(score=lambda *_: {"fd": next(rest)}, resume=judged[1])
    resumed = train(bars(), params, again)
    assert all(torch.equal(resumed.weights[k], w) for k, w in trained.weights.items())


def test_without_patience_nothing_stops_early():
    """By default a run sees all its faces."""

    def score(faces, labels):
        return {"fidelity": 0.5}

    trained = train(bars(), TINY, TrainHooks(score=score))
    assert trained.kimg == 0.08


def test_rgb_faces_and_unlabelled_ones():
    """Colour is the data's; faces without a label are left out and change nothing."""
    data = bars(channels="rgb")
    images = np.concatenate([data.faces.images, data.faces.images[:2]])
    labels = np.concatenate([data.faces.labels, [-1, -1]])
    more = training_set(FaceArrays.of(images, labels, ids=[*data.faces.ids, "x", "y"]), CLASSES)
    first = train(data, {**TINY, "kimg": 0.016}, TrainHooks())
    assert same(train(more, {**TINY, "kimg": 0.016}, TrainHooks()).weights, first.weights)
    assert first.spec["channels"] == 3
    none = TrainingSet(FaceArrays.of(images, np.full(26, -1)), CLASSES, np.zeros(26, np.int64))
    with pytest.raises(Invalid) as caught:
        train(none, TINY, TrainHooks())
    assert caught.value.reason == "EMPTY_SET"


def test_every_face_is_seen_once_an_epoch_and_parts_make_the_batch():
    """An epoch is a permutation, also across steps; processes see the batch whole between them."""
    faces = bars(20).faces
    pool = RealFaces(faces, place("cpu", "fp32"), batch=8, mirror=True, seed=3)
    rows = np.concatenate([pool.rows(step) for step in range(5)])
    assert sorted(rows[:20]) == sorted(rows[20:]) == list(range(20))
    whole, labels = pool.at(1)
    first, second = pool.at(1, slice(0, 4)), pool.at(1, slice(4, 8))
    assert torch.equal(torch.cat([first[0], second[0]]), whole)
    assert torch.equal(torch.cat([first[1], second[1]]), labels)
    assert torch.equal(labels, torch.from_numpy(faces.labels[pool.rows(1)]))


def test_the_process_is_left_as_it_was():
    """Training touches neither the caller's random state nor its number of threads."""
    torch.manual_seed(5)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    train(bars(), {**TINY, "kimg": 0.016}, TrainHooks())
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_labels_come_in_over_the_transition():
    """The weight of labels rises from 0 to 1 and is kept with the generator."""
    spec = spec_for(RECIPES["transition"], 16, 1, 3)
    weights = [noise_fit.condition_weight(spec, kimg) for kimg in (0.0, 0.02, 0.035, 0.05, 1.0)]
    assert weights == pytest.approx([0.0, 0.0, 0.5, 1.0, 1.0])
    trained = train(bars(), RECIPES["transition"], TrainHooks())
    assert trained.weights["code.condition_weight"] == 1.0


SCRIPT = """
import json, sys
import numpy as np
from mien.core.expression import EKMAN_SIX
from mien.core.faces import FaceArrays
from mien.generators.noise import train
from mien.generators.trained import TrainHooks, training_set

labels = np.arange(24) % 3
images = np.random.default_rng(0).integers(0, 256, (24, 16, 16), dtype=np.uint8)
data = training_set(FaceArrays.of(images, labels), EKMAN_SIX[:3])
saves = []
trained = train(data, json.loads(sys.argv[1]), TrainHooks(save=saves.append, save_every_s=0.0))
sums = {k: float(v.double().abs().sum()) for k, v in trained.weights.items()}
print(json.dumps([trained.history, sums, len(saves)]))
"""


def run(count, params):
    """Train in ``count`` processes; what each of them prints."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    team = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, json.dumps(params)],
            env={**os.environ, **team, "RANK": str(r), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for r in range(count)
    ]
    said = [p.communicate(timeout=300)[0] for p in running]
    assert all(p.returncode == 0 for p in running)
    return [json.loads(text) for text in said]


@pytest.mark.slow
def test_two_processes_train_as_one():
    """Same losses and weights up to rounding, in both processes; one of them saves."""
    params = {**TINY, "kimg": 0.032}
    ((history, weights, _),) = run(1, params)
    halves = run(2, params)
    for told, found, _ in halves:
        assert found == pytest.approx(weights, rel=1e-3)
        for mine, theirs in zip(history, told, strict=True):
            assert theirs == pytest.approx(mine, rel=1e-2, abs=1e-3)
    assert halves[0][1] == halves[1][1]
    assert sorted(saves > 0 for *_, saves in halves) == [False, True]
