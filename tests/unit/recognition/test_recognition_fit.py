"""The training loop: learning, resuming, stopping, refusing."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from mien.core.errors import Corrupt, Interrupted, Invalid, WrongState
from mien.recognition import fit as fit_module
from mien.recognition.fit import fit
from mien.recognition.objective import judge
from mien.recognition.predict import predict
from mien.recognition.spec import ClassifierSpec, FitSpec
from mien.training.checkpoint import load_checkpoint, save_checkpoint

STEPS = FitSpec(kimg=0.64, batch=16, evaluations=8, precision="fp32", device="cpu")
PAPER = FitSpec(protocol="paper", epochs=4, batch=16, lr=1e-3, precision="fp32", device="cpu")


def same_weights(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def after(count):
    """Ask to stop once ``count`` steps have been asked about."""
    asked = iter(range(10**9))
    return lambda: next(asked) >= count


def interrupted_and_resumed(spec, schedule, train, validation, folder, stops):
    """Train, being stopped after every so many steps, with the state on disk in between."""
    for steps in stops:
        with pytest.raises(Interrupted):
            fit(
                spec,
                schedule,
                train,
                validation,
                cancelled=after(steps),
                save=lambda state: save_checkpoint(folder, state),
                resume=load_checkpoint(folder),
            )
    return fit(spec, schedule, train, validation, resume=load_checkpoint(folder))


def test_a_network_learns(small_spec, make_faces):
    """On easy faces forty steps suffice for nearly all of new ones."""
    result = fit(small_spec, STEPS, make_faces(96), make_faces(30, seed=1))
    said = predict(result.weights, small_spec, make_faces(90, seed=2))
    assert (said.logits.argmax(1) == said.labels).mean() > 0.9
    assert result.images_seen == 640
    assert [h.images_seen for h in result.history] == [80 * i for i in range(1, 9)]
    assert result.device == "cpu"
    assert result.precision == "fp32"
    assert 0 < result.train_s <= result.wall_s


@pytest.mark.parametrize(
    ("network", "schedule", "stops"),
    [("small", STEPS, (3, 5, 17)), ("small", PAPER, (1, 7)), ("seed", PAPER, (6,))],
)
def test_resumed_runs_are_bit_identical(network, schedule, stops, make_faces, tmp_path):
    """Stopped anywhere, also within an epoch, and resumed from disk: the same bits at the end."""
    spec = ClassifierSpec(
        network, tuple(make_classes()), size_px=16, width=0.25, heads=("expression", "affect")
    )
    train, validation = make_faces(70), make_faces(30, seed=1)
    straight = fit(spec, schedule, train, validation)
    broken = interrupted_and_resumed(spec, schedule, train, validation, tmp_path, stops)
    assert broken.history == straight.history
    assert same_weights(broken.weights, straight.weights)
    assert broken.best_images_seen == straight.best_images_seen


def make_classes():
    from mien.core.expression import EKMAN_SIX

    return EKMAN_SIX[:3]


def test_a_killed_run_goes_on_from_its_last_validation(small_spec, make_faces, tmp_path):
    """A run killed without warning loses at most what it did since it last saved."""
    train, validation = make_faces(70), make_faces(30, seed=1)
    straight = fit(small_spec, STEPS, train, validation)
    saves = []

    def save(state):
        save_checkpoint(tmp_path, state)
        saves.append(state["progress"]["step"])
        if len(saves) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(small_spec, STEPS, train, validation, save=save, save_every_s=0.0)
    state = load_checkpoint(tmp_path)
    assert state is not None
    assert state["progress"]["step"] == 15
    resumed = fit(small_spec, STEPS, train, validation, resume=state)
    assert resumed.history == straight.history
    assert same_weights(resumed.weights, straight.weights)


def test_a_finished_run_can_be_resumed(small_spec, make_faces):
    """Resuming the state of the very end trains no further and gives the same result."""
    states = []
    train, validation = make_faces(70), make_faces(30, seed=1)
    result = fit(small_spec, STEPS, train, validation, save=states.append, save_every_s=0.0)
    again = fit(small_spec, STEPS, train, validation, resume=states[-1])
    assert again.history == result.history
    assert same_weights(again.weights, result.weights)


def test_seed_decides_everything(small_spec, make_faces):
    """The same seed gives the same bits whatever ran before; another seed gives others."""
    train, validation = make_faces(50), make_faces(30, seed=1)
    short = replace(STEPS, kimg=0.1)
    first = fit(small_spec, short, train, validation)
    torch.manual_seed(99)
    torch.rand(5)
    assert same_weights(fit(small_spec, short, train, validation).weights, first.weights)
    other = fit(small_spec, replace(short, seed=1), train, validation)
    assert not same_weights(other.weights, first.weights)


def test_the_process_is_left_as_it_was(small_spec, make_faces):
    """Training touches neither the caller's random state nor its number of threads."""
    torch.manual_seed(5)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    fit(small_spec, replace(STEPS, kimg=0.05), make_faces(20), make_faces(20))
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_the_best_weights_are_returned_not_the_last(small_spec, make_faces, monkeypatch):
    """Where validation turns worse, the weights of its minimum are what comes back."""
    kept = []
    real = judge

    def spoiled(*args):
        kept.append(None)
        figures = real(*args)
        return replace(figures, loss=0.1 if len(kept) == 2 else 1.0)

    monkeypatch.setattr(fit_module, "judge", spoiled)
    states = []
    result = fit(
        small_spec,
        STEPS,
        make_faces(50),
        make_faces(30, seed=1),
        save=states.append,
        save_every_s=0.0,
    )
    assert result.best_images_seen == 160
    assert same_weights(result.weights, states[1]["weights"])
    assert not same_weights(result.weights, states[-1]["weights"])


def test_paper_stops_early(small_spec, make_faces):
    """Under ``paper`` training ends ``patience`` epochs after the best validation loss."""
    schedule = replace(PAPER, epochs=50, patience=2, lr=3e-2)
    result = fit(small_spec, schedule, make_faces(30), make_faces(30, seed=1))
    epochs = [h.images_seen // 30 for h in result.history]
    assert epochs == list(range(1, len(epochs) + 1))
    losses = [h.loss for h in result.history]
    assert len(losses) < 50
    assert losses.index(min(losses)) == len(losses) - 3
    assert result.best_images_seen == 30 * (len(losses) - 2)


def test_steps_sees_the_same_number_of_images_whatever_the_data(small_spec, make_faces):
    """Under ``steps`` a larger training set means no more images, and no early stop."""
    for count in (7, 200):
        result = fit(small_spec, replace(STEPS, kimg=0.2), make_faces(count), make_faces(9, seed=1))
        assert result.images_seen == 208
        assert len(result.history) == 8


@pytest.mark.parametrize("heads", [("affect",), ("expression", "affect")])
def test_affect_is_learned(heads, small_spec, make_faces):
    """With the affect head, predictions agree with the truth, unlabelled faces notwithstanding."""
    spec = replace(small_spec, heads=heads)
    train = make_faces(96)
    train.affect[::5] = np.nan
    train.labels[1::5] = -1
    result = fit(spec, replace(STEPS, kimg=1.2), train, make_faces(30, seed=1))
    assert result.history[-1].ccc is not None
    assert result.history[-1].ccc > 0.7
    assert (result.history[-1].accuracy is None) is (heads == ("affect",))
    said = predict(result.weights, spec, make_faces(30, seed=2))
    assert said.affect.shape == (30, 2)
    assert said.affect_true.shape == (30, 2)


def test_a_class_without_training_faces_is_fine(small_spec, make_faces, caplog):
    """A class missing from training is a warning; the others are learned."""
    train = make_faces(90)
    train = train.take(train.labels != 1)
    result = fit(small_spec, STEPS, train, make_faces(30, seed=1))
    assert "no face of" in caplog.text
    assert result.history[-1].accuracy == pytest.approx(2 / 3, abs=0.05)


def test_a_class_without_validation_faces_is_fine(small_spec, make_faces):
    """A class missing from validation leaves the figures finite."""
    validation = make_faces(30, seed=1)
    result = fit(
        small_spec, replace(STEPS, kimg=0.1), make_faces(50), validation.take(validation.labels > 0)
    )
    assert all(math.isfinite(h.loss) and h.macro_f1 is not None for h in result.history)


def test_memory_maps_are_trained_on_in_place(small_spec, make_faces, tmp_path):
    """A read-only memory map gives the same bits as an array."""
    train, validation = make_faces(50), make_faces(30, seed=1)
    np.save(tmp_path / "images.npy", train.images)
    mapped = replace(train, images=np.load(tmp_path / "images.npy", mmap_mode="r"))
    short = replace(STEPS, kimg=0.1)
    assert same_weights(
        fit(small_spec, short, mapped, validation).weights,
        fit(small_spec, short, train, validation).weights,
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16", "auto"])
@pytest.mark.parametrize("channels", ["gray", "rgb"])
def test_precisions_and_colours(precision, channels, make_faces):
    """Both precisions learn, in gray and in RGB."""
    spec = ClassifierSpec("small", tuple(make_classes()), size_px=16, channels=channels, width=0.5)
    schedule = replace(STEPS, precision=precision)
    result = fit(
        spec, schedule, make_faces(96, channels=channels), make_faces(30, 1, channels=channels)
    )
    assert max(h.accuracy or 0.0 for h in result.history) > 0.9


def diverging_after(steps, monkeypatch):
    """Make the loss not finite from a step on."""
    real, calls = fit_module.training_loss, []

    def loss(*args, **kwargs):
        calls.append(None)
        return real(*args, **kwargs) * (math.nan if len(calls) > steps else 1.0)

    monkeypatch.setattr(fit_module, "training_loss", loss)


def test_diverging_training_stops_with_the_last_good_state(small_spec, make_faces, monkeypatch):
    """A loss that is not finite ends the run; the state of the validation before is saved."""
    diverging_after(12, monkeypatch)
    states = []
    with pytest.raises(WrongState) as error:
        fit(small_spec, STEPS, make_faces(32), make_faces(30, seed=1), save=states.append)
    assert error.value.reason == "NAN_LOSS"
    assert "lr" in error.value.hint
    (state,) = states
    assert state["progress"]["step"] == 10
    for table in ("weights", "best", "optimiser"):
        assert all(torch.isfinite(w.float()).all() for w in state[table].values())


def test_interrupting_a_diverged_run_keeps_the_older_state(small_spec, make_faces, monkeypatch):
    """Stopped after the loss went bad and before validation noticed, nothing bad is saved."""
    diverging_after(6, monkeypatch)
    states = []
    with pytest.raises(Interrupted):
        fit(
            small_spec,
            STEPS,
            make_faces(32),
            make_faces(30, seed=1),
            cancelled=after(8),
            save=states.append,
        )
    assert states == []


def test_too_high_a_learning_rate_is_told(small_spec, make_faces):
    """Training that really diverges ends in the same error."""
    schedule = replace(PAPER, epochs=30, lr=1e38)
    with pytest.raises(WrongState, match="not finite"):
        fit(small_spec, schedule, make_faces(32), make_faces(30, seed=1))


def test_a_checkpoint_of_another_run_is_refused(small_spec, make_faces):
    """Another seed, network or data set cannot go on from this one's state."""
    states = []
    train, validation = make_faces(50), make_faces(30, seed=1)
    fit(small_spec, STEPS, train, validation, save=states.append, save_every_s=0.0)
    with pytest.raises(WrongState) as error:
        fit(small_spec, replace(STEPS, seed=7), train, validation, resume=states[0])
    assert error.value.reason == "OTHER_RUN"
    with pytest.raises(WrongState):
        fit(small_spec, STEPS, train.take(np.arange(49)), validation, resume=states[0])


def test_a_checkpoint_that_lacks_parts_is_corrupt(small_spec, make_faces):
    """A state without some weights is refused as corrupt, not trained on."""
    states = []
    train, validation = make_faces(50), make_faces(30, seed=1)
    fit(small_spec, STEPS, train, validation, save=states.append, save_every_s=0.0)
    crippled = {**states[0], "weights": {}}
    with pytest.raises(Corrupt) as error:
        fit(small_spec, STEPS, train, validation, resume=crippled)
    assert error.value.reason == "CHECKPOINT"


def bad_inputs(make_faces):
    faces = make_faces(30)
    return {
        "ONE_CLASS": faces.take(faces.labels == 0),
        "EMPTY_SET": faces.take(np.arange(0)),
        "IMAGE_SIZE": make_faces(30, size_px=24),
        "LABEL_OUT_OF_RANGE": replace(faces, labels=faces.labels + 1),
        "AFFECT_OUT_OF_RANGE": replace(faces, affect=faces.affect + 3),
    }


@pytest.mark.parametrize(
    "reason",
    ["ONE_CLASS", "EMPTY_SET", "IMAGE_SIZE", "LABEL_OUT_OF_RANGE", "AFFECT_OUT_OF_RANGE"],
)
def test_unusable_training_sets_are_refused(reason, small_spec, make_faces):
    """Each fault of a training set is one clear error."""
    with pytest.raises(Invalid) as error:
        fit(small_spec, STEPS, bad_inputs(make_faces)[reason], make_faces(30))
    assert error.value.reason == reason


@pytest.mark.parametrize("reason", ["EMPTY_SET", "IMAGE_SIZE", "LABEL_OUT_OF_RANGE"])
def test_unusable_validation_sets_are_refused(reason, small_spec, make_faces):
    """Each fault of a validation set is one clear error that says which set."""
    with pytest.raises(Invalid, match="validation") as error:
        fit(small_spec, STEPS, make_faces(30), bad_inputs(make_faces)[reason])
    assert error.value.reason == reason


def test_a_set_without_labels_for_the_heads_is_empty(small_spec, make_faces):
    """Faces labelled only for a head that is absent count as none."""
    faces = make_faces(30)
    with pytest.raises(Invalid, match="labelled for the heads"):
        fit(small_spec, STEPS, replace(faces, labels=np.full(30, -1)), make_faces(30))


def test_progress_counts_images(small_spec, make_faces):
    """Progress rises to the total in kimg and carries the last validation."""
    events = []
    fit(small_spec, STEPS, make_faces(50), make_faces(30, seed=1), progress=events.append)
    done = [e.done for e in events]
    assert done == sorted(done)
    assert events[-1].done == events[-1].total == pytest.approx(0.64)
    assert events[-1].unit == "kimg"
    assert "validation_accuracy" in events[-1].metrics


@pytest.mark.parametrize(
    "wrong",
    [
        {"kimg": 0},
        {"batch": 0},
        {"lr": -1.0},
        {"label_smoothing": 1.0},
        {"affect_weight": -0.5},
        {"protocol": "forever"},
        {"base": "colour"},
        {"precision": "fp8"},
        {"device": "tpu"},
        {"threads": 0},
    ],
)
def test_wrong_configurations_name_the_field(wrong):
    """A configuration out of range names the field at fault."""
    with pytest.raises(Invalid) as error:
        FitSpec(**wrong)
    assert list(error.value.violations) == list(wrong)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_device_is_an_error(small_spec, make_faces):
    """Asking for CUDA where there is none is refused, never replaced by the processor."""
    with pytest.raises(Invalid) as error:
        fit(small_spec, replace(STEPS, device="cuda"), make_faces(30), make_faces(30))
    assert error.value.reason == "NO_CUDA"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_resumed_runs_are_bit_identical_on_cuda(small_spec, make_faces, tmp_path):
    """On a GPU too a resumed run ends with the same bits, augmentation included."""
    schedule = replace(STEPS, device="cuda", precision="bf16")
    train, validation = make_faces(70), make_faces(30, seed=1)
    straight = fit(small_spec, schedule, train, validation)
    broken = interrupted_and_resumed(small_spec, schedule, train, validation, tmp_path, (3, 12))
    assert broken.history == straight.history
    assert same_weights(broken.weights, straight.weights)
    assert straight.device.startswith("cuda:")
