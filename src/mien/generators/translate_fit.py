"""The training loop of the engine ``translate``: one straight function for all its recipes.

All randomness is counter-based: initialisation, order, mirroring and targets are drawn from
``TranslateSpec.seed`` and the step, so that a run that was killed and resumed is bit-identical to
one that was not.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mien.core.digest import digest_bytes, digest_of, seed_of
from mien.core.errors import Interrupted, Invalid, WrongState
from mien.core.hooks import Progress
from mien.generators.gan_course import (
    Course,
    averaged,
    copied,
    follow,
    kept_share,
    restore,
    snapshot,
)
from mien.generators.trained import Trained, TrainHooks, TrainingSet
from mien.generators.translate_batches import Batch, Batches, labelled
from mien.generators.translate_losses import (
    FIGURES,
    Players,
    discriminator_terms,
    generator_terms,
)
from mien.generators.translate_networks import build_discriminator, build_generator
from mien.generators.translate_sheet import Sampled
from mien.generators.translate_spec import Domains, TranslateSpec, require_size
from mien.training.device import Placement, keep_freed_memory, place, reproducible
from mien.training.distributed import Crew, crew
from mien.training.memory import accumulate

log = logging.getLogger(__name__)

Terms = tuple[Tensor, dict[str, Tensor]]


def fit_translator(spec: TranslateSpec, data: TrainingSet, hooks: TrainHooks) -> Trained:
    """Train a translator; returns the averaged generator where the recipe keeps an average.

    A run that is stopped early gives the weights of its best evaluation.

    Args:
        spec: networks, losses, schedule.
        data: labelled faces; others are left out.
        hooks: how to report, save, resume, and the teacher.

    Raises:
        Invalid: ``IMAGE_SIZE``, ``NO_CUDA``; ``CREW_SIZE`` when processes do not divide the batch.
        WrongState: ``NAN_LOSS`` when training diverges (the last good state was saved);
            ``OTHER_RUN`` when ``hooks.resume`` belongs to another run.
        Corrupt: ``CHECKPOINT`` when ``hooks.resume`` does not fit the networks.
        Exhausted: ``OUT_OF_MEMORY`` when not even one face at a time fits.
        Interrupted: when cancelled, after saving.
    """
    data = labelled(data)
    domains = Domains(data.size_px, data.channels, len(data.classes), data.known)
    require_size(domains, spec)
    placement = place(spec.device, spec.precision)
    keep_freed_memory()
    with reproducible(placement, spec.threads), crew(placement.device) as ranks:
        # --- Networks, optimisers, data ---------------------------------------------------------
        torch.manual_seed(seed_of("weights", spec.seed))
        generator = _placed(build_generator(domains, spec), placement)
        discriminator = _placed(build_discriminator(domains, spec), placement)
        average = averaged(generator)
        players = Players(spec, generator, discriminator, hooks.teacher)
        networks = {"generator": generator, "discriminator": discriminator, "average": average}
        best = networks["best"] = averaged(average)
        optimisers = {
            "generator": _adam(generator, spec.lr, spec),
            "discriminator": _adam(discriminator, spec.lr_d, spec),
        }
        batches = Batches(data, domains, spec, placement)
        mine = _own_part(spec, ranks)

        # --- Where the run is: at its start, or where it was interrupted ------------------------
        course = Course(run=_run_digest(spec, data), micro=spec.batch)
        # Since the last report: every figure's sum, then how often each was added. On the device,
        # for asking a GPU after every step would make it wait.
        sums = torch.zeros(2, len(FIGURES), dtype=torch.float64, device=placement.device)
        if hooks.resume is not None:
            course = restore(hooks.resume, course.run, networks, optimisers, sums)
            log.info("resumed after %d steps", course.step)
        resumed = saved = time.perf_counter()
        wall_before = course.wall_s
        good = snapshot(course, networks, optimisers, sums)

        # --- The loop ---------------------------------------------------------------------------
        while course.step < spec.steps and course.since_best < spec.patience:
            if ranks.any(hooks.cancelled(), placement.device):
                course.wall_s = wall_before + time.perf_counter() - resumed
                if bool(torch.isfinite(sums).all()) and ranks.speaks:
                    hooks.save(snapshot(course, networks, optimisers, sums))
                seen = course.step * spec.batch
                raise Interrupted(f"training was interrupted after {seen} faces")

            batch = batches.at(course.step, mine)
            turns = [("discriminator", discriminator_terms)]
            if (course.step + 1) % spec.critic_steps == 0:
                turns.append(("generator", generator_terms))
            for name, terms_of in turns:
                discriminator.requires_grad_(name == "discriminator")
                loss_of = partial(_loss, terms_of, players, batch, placement, sums)
                course.micro = accumulate(loss_of, len(batch), course.micro, 1, networks[name])
                ranks.average(networks[name].parameters())
                _set_rate(optimisers[name], name, spec, course.step)
                optimisers[name].step()
                optimisers[name].zero_grad(set_to_none=True)
            if len(turns) == 2:
                seen = course.step * spec.batch
                kept = kept_share(spec.batch * spec.critic_steps, seen, spec.ema_kimg)
                follow(average, generator, kept)
            course.step += 1

            # --- Reports, sheets, figures, the state to go on from ------------------------------
            evaluates = _reaches(course.step, spec.steps, spec.evaluations)
            if not evaluates and not _reaches(course.step, spec.steps, min(100, spec.steps)):
                continue
            kimg = course.step * spec.batch / 1000
            totals, counts = ranks.mean(sums).tolist()
            if not all(math.isfinite(total) for total in totals):
                if ranks.speaks:
                    hooks.save(good)
                raise WrongState(
                    "NAN_LOSS",
                    f"a loss is not finite after {kimg:.3g} kimg",
                    hint="lower the learning rates (lr, lr_d), or set precision to fp32",
                    details={"kimg": f"{kimg:g}"},
                )
            told = {n: t / c for n, t, c in zip(FIGURES, totals, counts, strict=True) if c}
            sums.zero_()
            if evaluates:
                made = Sampled(average, best, data, domains, placement)
                told |= made.shown_and_judged(hooks, course, kimg, speaks=ranks.speaks)
            course.history.append({"kimg": kimg, **told})
            course.wall_s = wall_before + time.perf_counter() - resumed
            good = snapshot(course, networks, optimisers, sums)
            if ranks.speaks:
                hooks.progress(Progress(kimg, spec.kimg, "kimg", "translate", told))
                saved = _saved(hooks, good, saved)

    # Stopped because nothing became better any more: what came after the best is worse.
    chosen = best if course.step < spec.steps else average
    return Trained(
        weights=copied(chosen.state_dict()),
        spec={"params": spec.model_dump(mode="json"), "domains": domains.to_json()},
        history=course.history,
        kimg=course.step * spec.batch / 1000,
        wall_s=wall_before + time.perf_counter() - resumed,
        device=placement.kind,
    )


def _loss(
    terms_of: Callable[[Players, Batch], Terms],
    players: Players,
    batch: Batch,
    placement: Placement,
    sums: Tensor,
    part: slice,
) -> Tensor:
    """Score a part of a batch, and add its figures to the sums, weighted by its size."""
    some = batch.part(part)
    with placement.autocast():
        loss, terms = terms_of(players, some)
    share = len(some) / len(batch)
    for name, term in terms.items():
        sums[:, FIGURES.index(name)] += share * torch.stack([term.detach(), torch.ones_like(term)])
    return loss


def _own_part(spec: TranslateSpec, ranks: Crew) -> slice:
    """Name this process's part of every batch."""
    if spec.batch % ranks.count:
        raise Invalid(
            "CREW_SIZE",
            f"a batch of {spec.batch} cannot be dealt to {ranks.count} processes",
            hint="choose a batch that the number of processes divides",
        )
    own = spec.batch // ranks.count
    return slice(ranks.rank * own, (ranks.rank + 1) * own)


def _placed(network: nn.Module, placement: Placement) -> nn.Module:
    network.to(placement.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def _adam(network: nn.Module, lr: float, spec: TranslateSpec) -> torch.optim.Adam:
    return torch.optim.Adam(network.parameters(), lr=lr, betas=spec.betas, fused=True)


def _set_rate(optimiser: torch.optim.Optimizer, name: str, spec: TranslateSpec, step: int) -> None:
    peak = spec.lr if name == "generator" else spec.lr_d
    for group in optimiser.param_groups:
        group["lr"] = peak * spec.rate(step)


def _reaches(step: int, steps: int, times: int) -> bool:
    """Tell whether a step is one of so many, evenly over the run; its last always is."""
    return step * times // steps > (step - 1) * times // steps


def _saved(hooks: TrainHooks, state: Mapping[str, Any], last: float) -> float:
    """Save when it is time; returns when it was last done."""
    now = time.perf_counter()
    if now - last < hooks.save_every_s:
        return last
    hooks.save(state)
    return now


def _run_digest(spec: TranslateSpec, data: TrainingSet) -> str:
    """Name the run; the images themselves are named by their ids."""
    arrays = [digest_bytes(a.tobytes()) for a in (data.faces.labels, data.database)]
    return digest_of([spec.model_dump(mode="json"), list(data.faces.ids), arrays, data.known])
