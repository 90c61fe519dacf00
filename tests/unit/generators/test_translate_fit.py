"""The translator's training loop: learning, resuming, stopping, refusing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mien.core.errors import Exhausted, Interrupted, Invalid, WrongState
from mien.core.expression import EKMAN_SIX
from mien.core.faces import FaceArrays
from mien.generators.trained import TrainHooks, TrainingSet, training_set
from mien.generators.translate import train
from mien.generators.translate_batches import Batches, conditions
from mien.generators.translate_spec import Domains, parse_translate_spec
from mien.training.checkpoint import load_checkpoint, save_checkpoint
from mien.training.device import place

CLASSES = EKMAN_SIX[:3]
TINY = {
    "width": 8,
    "blocks": 1,
    "d_width": 8,
    "d_depth": 3,
    "batch": 8,
    "kimg": 0.08,
    "evaluations": 2,
    "device": "cpu",
    "precision": "fp32",
}
PUBLISHED = {**TINY, "recipe": "published", "critic_steps": 2}


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


def teacher(faces):
    """Name the class by where the face is bright: differentiable, and right."""
    rows = faces.mean((1, 3))
    return 20.0 * torch.stack([rows[:, 4 * k + 2 : 4 * k + 5].mean(1) for k in range(3)], 1)


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def after(count):
    """Ask to stop once ``count`` steps have been asked about."""
    asked = iter(range(10**9))
    return lambda: next(asked) >= count


@pytest.mark.parametrize("head", ["warp_residual", "mask"])
def test_a_translator_learns_from_its_teacher(head):
    """After some steps most faces show what was asked for, and the losses say so."""
    params = {**TINY, "head": head, "kimg": 0.5, "lr": 6e-3, "change_weight": 0.0, "ema_kimg": 0.1}
    faces = []

    def keep(kimg, sheet):
        faces.append(sheet)

    trained = train(bars(), params, TrainHooks(teacher=teacher, sheet=keep))
    sheet = torch.from_numpy(faces[-1]).float()
    assert sheet.shape == (8, 3, 16, 16)
    said = teacher(sheet.flatten(0, 1)[:, None] / 127.5 - 1).argmax(1)
    assert (said == torch.arange(24) % 3).float().mean() > 0.7
    assert trained.history[-1]["teacher"] < 0.7 * trained.history[0]["teacher"]
    assert trained.kimg == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("params", [TINY, {**TINY, "augment": ("translation",)}, PUBLISHED])
@pytest.mark.parametrize("stops", [(3,), (1, 4)])
def test_resumed_runs_are_bit_identical(params, stops, tmp_path):
    """Stopped anywhere and resumed from disk: the same losses and bits as uninterrupted."""
    data = bars()
    straight = train(data, params, TrainHooks(teacher=teacher))
    for steps in stops:
        hooks = TrainHooks(
            teacher=teacher,
            cancelled=after(steps),
            save=lambda state: save_checkpoint(tmp_path, state),
            resume=load_checkpoint(tmp_path),
        )
        with pytest.raises(Interrupted):
            train(data, params, hooks)
    resumed = train(data, params, TrainHooks(teacher=teacher, resume=load_checkpoint(tmp_path)))
    assert resumed.history == straight.history
    assert same(resumed.weights, straight.weights)


def test_a_killed_run_goes_on_from_its_last_save(tmp_path):
    """A run killed without warning loses what it did since it last saved, and nothing else."""
    data = bars()
    straight = train(data, TINY, TrainHooks())
    saves = []

    def save(state):
        save_checkpoint(tmp_path, state)
        saves.append(state["progress"]["step"])
        if len(saves) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(data, TINY, TrainHooks(save=save, save_every_s=0.0))
    state = load_checkpoint(tmp_path)
    assert state is not None
    resumed = train(data, TINY, TrainHooks(resume=state))
    assert resumed.history == straight.history
    assert same(resumed.weights, straight.weights)


def test_a_state_of_another_run_is_refused(tmp_path):
    """Other options or data cannot go on from a state."""
    states = []
    train(bars(), TINY, TrainHooks(save=states.append, save_every_s=0.0))
    with pytest.raises(WrongState) as caught:
        train(bars(), {**TINY, "seed": 1}, TrainHooks(resume=states[-1]))
    assert caught.value.reason == "OTHER_RUN"


def test_seed_decides_everything():
    """The same seed gives the same bits whatever ran before; another seed gives others."""
    data = bars()
    first = train(data, TINY, TrainHooks())
    torch.manual_seed(99)
    assert same(train(data, TINY, TrainHooks()).weights, first.weights)
    assert not same(train(data, {**TINY, "seed": 1}, TrainHooks()).weights, first.weights)


def test_diverging_stops_with_the_last_good_state():
    """A loss that is not finite ends the run, and what was saved can be gone on from."""
    calls, saves = [], []

    def spoiled(faces):
        calls.append(None)
        return teacher(faces) * (float("nan") if len(calls) > 6 else 1.0)

    with pytest.raises(WrongState) as caught:
        train(bars(), TINY, TrainHooks(teacher=spoiled, save=saves.append))
    assert caught.value.reason == "NAN_LOSS"
    assert saves[-1]["progress"]["step"] == 6
    assert all(torch.isfinite(t).all() for t in saves[-1]["generator"].values())


def test_out_of_memory_makes_the_parts_smaller_not_the_batch():
    """When memory runs out the same batch is done in parts, with the same result up to rounding."""
    data = bars()
    whole = train(data, TINY, TrainHooks(teacher=teacher))

    def hungry(faces):
        if len(faces) > 4:
            raise torch.OutOfMemoryError("too many faces at a time")
        return teacher(faces)

    states = []
    parted = train(data, TINY, TrainHooks(teacher=hungry, save=states.append, save_every_s=0.0))
    assert states[-1]["progress"]["micro"] == 4
    assert parted.history[-1]["kimg"] == whole.history[-1]["kimg"]
    assert parted.history[0]["teacher"] == pytest.approx(whole.history[0]["teacher"], rel=1e-3)


def test_too_little_memory_for_one_face_is_an_error():
    """When not even one face fits, the run says so."""

    def starved(faces):
        raise torch.OutOfMemoryError("no memory")

    with pytest.raises(Exhausted) as caught:
        train(bars(), TINY, TrainHooks(teacher=starved))
    assert caught.value.reason == "OUT_OF_MEMORY"


def test_training_stops_when_the_figures_no_longer_improve():
    """A figure that stays where it is ends the run after ``patience`` reports."""
    params = {**TINY, "kimg": 0.4, "evaluations": 10, "patience": 2}
    shown = []

    def score(faces, labels):
        shown.append((faces.shape, labels))
        return {"fidelity": 0.5}

    trained = train(bars(), params, TrainHooks(score=score))
    assert len(shown) == 3
    assert trained.kimg == pytest.approx(0.12)
    assert shown[0][0] == (24, 16, 16)
    assert set(shown[0][1]) == {0, 1, 2}
    assert trained.history[-1]["fidelity"] == 0.5


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


def test_without_a_judge_nothing_stops_early():
    """Reports without figures do not end a run."""
    trained = train(bars(), {**TINY, "evaluations": 10, "patience": 1}, TrainHooks())
    assert trained.kimg == 0.08


def test_two_databases_with_their_own_labels():
    """Each face is asked only for labels of its database, and the mask bits tell which it is."""
    one = bars(24)
    database = np.arange(24) // 12
    labels = np.where(database == 0, one.faces.labels % 2, 1 + one.faces.labels % 2)
    data = TrainingSet(FaceArrays.of(one.faces.images, labels), CLASSES, database, ((0, 1), (1, 2)))
    for params in (TINY, PUBLISHED):
        spec = parse_translate_spec(params)
        domains = Domains(16, "gray", 3, data.known)
        batches = Batches(data, domains, spec, place("cpu", "fp32"))
        asked = {0: set(), 1: set()}
        for step in range(12):
            batch = batches.at(step)
            which = batch.there[:, 3:].argmax(1)
            assert torch.equal(which, batch.back[:, 3:].argmax(1))
            assert torch.equal(batch.there[:, :3].argmax(1), batch.target)
            assert batch.known[torch.arange(8), batch.target].all()
            for d, target in zip(which.tolist(), batch.target.tolist(), strict=True):
                asked[d].add(target)
        assert asked == {0: {0, 1}, 1: {1, 2}}
        trained = train(data, {**params, "kimg": 0.032}, TrainHooks())
        assert np.isfinite(list(trained.history[-1].values())).all()


def test_a_label_that_its_database_does_not_have_is_refused():
    """A face may not show what its database is said not to label."""
    faces = bars(6).faces
    data = TrainingSet(faces, CLASSES, np.zeros(6, np.int64), ((0, 1),))
    with pytest.raises(Invalid) as caught:
        train(data, TINY, TrainHooks())
    assert caught.value.reason == "LABEL_OUT_OF_RANGE"
    assert CLASSES[2] in caught.value.message


def test_mask_bits_are_written_after_the_labels():
    """Two databases add two bits to the condition; one adds none."""
    labels, database = np.array([0, 2]), np.array([0, 1])
    two = conditions(labels, database, Domains(16, "gray", 3, ((0, 1), (1, 2))))
    assert two.tolist() == [[1, 0, 0, 1, 0], [0, 0, 1, 0, 1]]
    assert conditions(labels, database, Domains(16, "gray", 3)).shape == (2, 3)


def test_every_face_is_seen_once_an_epoch_and_all_parts_make_the_batch():
    """Processes that share a batch see it whole between them."""
    spec = parse_translate_spec(TINY)
    data = bars()
    batches = Batches(data, Domains(16, "gray", 3), spec, place("cpu", "fp32"))
    rows = np.concatenate([batches.real.rows(step) for step in range(3)])
    assert sorted(rows) == list(range(24))
    whole = batches.at(1)
    halves = [batches.at(1, slice(r, None, 2)) for r in (0, 1)]
    assert torch.equal(halves[0].faces, whole.faces[::2])
    assert torch.equal(halves[1].target, whole.target[1::2])


def test_unlabelled_faces_are_left_out():
    """Faces without a label are no reason to fail, and change nothing."""
    data = bars()
    extra = np.concatenate([data.faces.labels, [-1, -1]])
    images = np.concatenate([data.faces.images, data.faces.images[:2]])
    ids = [*data.faces.ids, "x", "y"]
    more = training_set(FaceArrays.of(images, extra, ids=ids), CLASSES)
    assert same(train(more, TINY, TrainHooks()).weights, train(data, TINY, TrainHooks()).weights)


def test_faces_of_a_wrong_size_are_refused():
    """Faces that cannot be halved often enough are an error before any step."""
    with pytest.raises(Invalid) as caught:
        train(bars(), {**TINY, "d_depth": 5}, TrainHooks())
    assert caught.value.reason == "IMAGE_SIZE"


@pytest.mark.parametrize(("taught", "learns"), [(teacher, False), (None, True)])
def test_a_teacher_takes_the_place_of_the_discriminators_classes(taught, learns):
    """The discriminator's own class logits are learned only where nobody teaches."""
    states = []
    hooks = TrainHooks(teacher=taught, save=states.append, save_every_s=0.0)
    train(bars(), {**TINY, "kimg": 0.024}, hooks)
    first, last = (s["discriminator"]["classes.weight"] for s in (states[0], states[-1]))
    assert (not torch.equal(first, last)) is learns


def test_faces_in_the_class_asked_for_are_kept():
    """With only the identity term, the generator leaves alone what is already right."""
    params = {**TINY, "kimg": 0.4, "same_weight": 50.0, "cycle_weight": 0.0}
    trained = train(bars(), params, TrainHooks())
    assert trained.history[-1]["same"] < 0.1


def test_the_process_is_left_as_it_was():
    """Training touches neither the caller's random state nor its number of threads."""
    torch.manual_seed(5)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    train(bars(), {**TINY, "kimg": 0.016}, TrainHooks())
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
