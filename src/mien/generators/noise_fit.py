"""The training loop of the engine ``noise``: one straight function.

All randomness is counter-based: initialisation, order, mirroring, noise, augmentation and dropout
are drawn from ``NoiseSpec.seed`` and the step. So the state of every generator is the step, and a
run that was killed and resumed is bit-identical to one that was not.
"""

from __future__ import annotations

import logging
import math
import time
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mien.core.digest import digest_bytes, digest_of, seed_of
from mien.core.errors import Interrupted, Invalid, WrongState
from mien.core.faces import FaceArrays
from mien.core.hooks import Progress
from mien.generators.gan_batches import RealFaces
from mien.generators.gan_course import (
    Course,
    averaged,
    copied,
    follow,
    kept_share,
    restore,
    snapshot,
)
from mien.generators.noise_game import SUMS, Game, Turn, condition_weight, draw_noise
from mien.generators.noise_networks import build, weigh_condition
from mien.generators.noise_sheet import figures_of, sheet_of
from mien.generators.noise_spec import NoiseSpec
from mien.generators.trained import Trained, TrainHooks, TrainingSet
from mien.training.device import keep_freed_memory, place, reproducible
from mien.training.distributed import crew
from mien.training.memory import accumulate

log = logging.getLogger(__name__)

_REPORTS = 100
_LEAST_LR = 0.1  # of the learning rate, at the end of its decay


def fit_noise(  # noqa: PLR0912
    spec: NoiseSpec, data: TrainingSet, hooks: TrainHooks
) -> Trained:
    """Train a generator against its discriminator and keep the averaged weights.

    A run that is stopped early gives those of its best evaluation.

    Source: Goodfellow et al. 2014, algorithm 1; the options' sources stand with their parts.

    Raises:
        Invalid: ``EMPTY_SET`` when no face has a label; ``CREW_SIZE`` when the batch cannot be
            dealt to the processes; ``NO_CUDA``.
        WrongState: ``NAN_LOSS`` when training diverges (the last good state was saved);
            ``OTHER_RUN`` when ``hooks.resume`` belongs to another run.
        Corrupt: ``CHECKPOINT`` when it does not fit the networks.
        Exhausted: ``OUT_OF_MEMORY`` when even the smallest part of a batch does not fit.
        Interrupted: when cancelled, after saving.
    """
    faces = _usable(data, spec)
    placement = place(spec.device, spec.precision)
    device = placement.device
    keep_freed_memory()
    with reproducible(placement, spec.threads), crew(device) as team:
        # --- Networks, optimisers, data ---------------------------------------------------------
        torch.manual_seed(seed_of("weights", spec.seed))
        generator, discriminator = (
            n.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            for n in build(spec)
        )
        average = averaged(generator)
        networks = {"generator": generator, "discriminator": discriminator, "average": average}
        best = networks["best"] = averaged(average)
        adam_g, adam_d = (
            torch.optim.Adam(network.parameters(), betas=spec.betas, fused=True)
            for network in (generator, discriminator)
        )
        optimisers = {"generator": adam_g, "discriminator": adam_d}
        pool = RealFaces(faces, placement, spec.batch, spec.mirror, spec.seed)
        if spec.batch % (team.count * spec.ghost):
            raise Invalid(
                "CREW_SIZE",
                f"a batch of {spec.batch} cannot be dealt to {team.count} processes in groups "
                f"of {spec.ghost}",
                hint="choose a batch that processes × ghost divides",
            )
        own = spec.batch // team.count
        mine = slice(team.rank * own, (team.rank + 1) * own)
        steps = max(1, math.ceil(spec.kimg * 1000 / spec.batch))
        report_every = max(1, steps // _REPORTS)

        # --- Where the run is: at its start, or where it was interrupted ------------------------
        course = Course(run=_run_digest(spec, faces), micro=own)
        # Since the last report; on the device, for asking a GPU every step would make it wait.
        sums = torch.zeros(len(SUMS), dtype=torch.float64, device=device)
        if hooks.resume is not None:
            course = restore(hooks.resume, course.run, networks, optimisers, sums)
            log.info("resumed after %d faces", course.step * spec.batch)
        game = Game(spec, placement, generator, discriminator, sums)
        penalised = spec.regulariser != "none" and spec.gamma > 0
        path_mean = torch.tensor(course.scalars.get("path_mean", 0.0), device=device)
        good: dict[str, Any] | None = None
        resumed = saved = time.perf_counter()
        wall_before = course.wall_s

        # --- The loop ---------------------------------------------------------------------------
        while course.step < steps and not 0 < spec.patience <= course.since_best:
            step, seen = course.step, course.step * spec.batch
            if team.any(hooks.cancelled(), device):
                course.wall_s = wall_before + time.perf_counter() - resumed
                course.scalars = {"path_mean": float(path_mean)}
                if team.speaks and math.isfinite(float(sums.sum())):
                    hooks.save(snapshot(course, networks, optimisers, sums))
                raise Interrupted(f"training was interrupted after {seen} faces")

            lr = _lr_factor(step / steps, spec.lr_decay)
            weight = condition_weight(spec, seen / 1000)
            for network in (generator, discriminator):
                network.train()
                weigh_condition(network, weight)
            for group_g, group_d in zip(adam_g.param_groups, adam_d.param_groups, strict=True):
                group_g["lr"], group_d["lr"] = spec.lr_g * lr, spec.lr_d * lr

            # --- Discriminator: tell the real from the generated, and name the real -------------
            generator.requires_grad_(False)
            discriminator.requires_grad_(True)
            for again in range(spec.n_critic):
                real, labels = pool.at(step * spec.n_critic + again, mine)
                given = None if spec.unconditional else labels
                name: tuple[object, ...] = ("d", step, again)
                noise = draw_noise(spec, name, mine, device)
                turn = Turn(name, mine.start, real, given, *noise, weight)
                course.micro = accumulate(
                    partial(game.d_loss, turn), own, course.micro, spec.ghost, discriminator
                )
                if again == 0 and penalised and step % spec.reg_every == 0:
                    course.micro = accumulate(
                        partial(game.penalty, turn), own, course.micro, spec.ghost, discriminator
                    )
                team.average(discriminator.parameters())
                adam_d.step()
                adam_d.zero_grad(set_to_none=True)

            # --- Generator: pass as real, and as the class asked for ----------------------------
            generator.requires_grad_(True)
            discriminator.requires_grad_(False)
            name = ("g", step)
            noise = draw_noise(spec, name, mine, device)
            turn = Turn(name, mine.start, real, given, *noise, weight)
            course.micro = accumulate(
                partial(game.g_loss, turn), own, course.micro, spec.ghost, generator
            )
            if spec.path_length_weight > 0 and step % spec.path_length_every == 0:
                moved: list[Tensor] = []
                course.micro = accumulate(
                    partial(game.path_loss, turn, mean=path_mean, moved=moved),
                    own,
                    course.micro,
                    spec.ghost,
                    generator,
                )
                path_mean = team.mean(torch.stack(moved).mean())
            team.average(generator.parameters())
            adam_g.step()
            adam_g.zero_grad(set_to_none=True)
            course.step += 1
            seen = course.step * spec.batch
            follow(average, generator, kept_share(spec.batch, seen, spec.ema_kimg))
            sums[-1] += 1

            # --- Reports, sheets, figures, the state to go on from ------------------------------
            evaluates = _evaluates(course.step, steps, spec.evaluations)
            if course.step % report_every and not evaluates:
                continue
            values = dict(zip(SUMS, team.mean(sums).tolist(), strict=True))
            count = values.pop("steps")
            if not all(math.isfinite(v) for v in values.values()):
                if good is not None and team.speaks:
                    hooks.save(good)
                raise WrongState(
                    "NAN_LOSS",
                    f"the loss is not finite after {seen} faces",
                    hint="lower the learning rates (lr_g, lr_d), or set precision to fp32",
                    details={"faces_seen": str(seen)},
                )
            losses = {name: value / count for name, value in values.items()}
            sums.zero_()
            figures: dict[str, float] = {}
            if evaluates:
                average.eval()
                if team.speaks:
                    hooks.sheet(seen / 1000, sheet_of(average, spec, placement))
                if hooks.score is not None:
                    figures = figures_of(average, spec, placement, hooks.score)
                    if course.judge(figures):
                        best.load_state_dict(average.state_dict())
            course.history.append({"kimg": seen / 1000, **losses, **figures})
            course.wall_s = wall_before + time.perf_counter() - resumed
            course.scalars = {"path_mean": float(path_mean)}
            good = snapshot(course, networks, optimisers, sums)
            if team.speaks:
                total = steps * spec.batch / 1000
                hooks.progress(Progress(seen / 1000, total, "kimg", "train", {**losses, **figures}))
                if time.perf_counter() - saved >= hooks.save_every_s:
                    hooks.save(good)
                    saved = time.perf_counter()

    # Stopped because nothing became better any more: what came after the best is worse.
    chosen = best if course.step < steps else average
    return Trained(
        weights=copied(chosen.state_dict()),
        spec=spec.model_dump(mode="json"),
        history=course.history,
        kimg=course.step * spec.batch / 1000,
        wall_s=wall_before + time.perf_counter() - resumed,
        device=placement.kind,
    )


def _usable(data: TrainingSet, spec: NoiseSpec) -> FaceArrays:
    """Leave out faces without a label, unless labels are not used."""
    faces = data.faces
    labelled = faces.labels >= 0
    if spec.unconditional or labelled.all():
        return faces
    if not labelled.any():
        raise Invalid("EMPTY_SET", "no face of the training set has a label")
    log.warning("%d of %d faces have no label and are left out", (~labelled).sum(), len(faces))
    return faces.take(labelled)


def _run_digest(spec: NoiseSpec, faces: FaceArrays) -> str:
    """Name the run; the images themselves are named by their ids."""
    return digest_of(
        [spec.model_dump(mode="json"), list(faces.ids), digest_bytes(faces.labels.tobytes())]
    )


def _lr_factor(done: float, decay: float) -> float:
    """Constant, then falling linearly to a tenth over the last ``decay`` of the run."""
    if decay <= 0 or done <= 1.0 - decay:
        return 1.0
    return 1.0 - (1.0 - _LEAST_LR) * (done - (1.0 - decay)) / decay


def _evaluates(step: int, steps: int, evaluations: int) -> bool:
    return step * evaluations // steps > (step - 1) * evaluations // steps
