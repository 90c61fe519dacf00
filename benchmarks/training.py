"""Training speed: our loop against a plain fp32 PyTorch loop of the same network.

Both train on the same faces at the same batch size, turn by turn, each in a process of its own
with one thread, so that neighbours on the machine disturb both alike and neither profits from the
other's memory settings. The figure is images a second of processor time; the ratio is the median
over the turns.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from multiprocessing.connection import Connection

import numpy as np

BATCH = 16
SIZE_PX = 64
FACES = 2000


def faces(seed=0):
    from mien.core.faces import FaceArrays

    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (FACES, SIZE_PX, SIZE_PX), dtype=np.uint8)
    return FaceArrays.of(images, rng.integers(0, 6, FACES))


def classifier(network):
    from mien.core.expression import EKMAN_SIX
    from mien.recognition.spec import ClassifierSpec

    return ClassifierSpec(network, EKMAN_SIX, size_px=SIZE_PX)


def plain_network(network):
    """The network as a PyTorch tutorial would write it: the same layers, torch's own dropout."""
    from torch import nn

    from mien.recognition.networks import Dropout, build

    model = build(classifier(network))
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Dropout):
                setattr(parent, name, nn.Dropout(child.dropped / 256))
    return model


def plain_loop(network, images):
    """Seconds of a plain loop: float tensors, DataLoader, fp32, Adam, one loss read a step."""
    import torch
    from torch.nn import functional
    from torch.utils.data import DataLoader, TensorDataset

    model = plain_network(network)
    known = faces()
    pixels = torch.from_numpy(known.images).unsqueeze(1).float() / 127.5 - 1.0
    data = TensorDataset(pixels, torch.from_numpy(known.labels))
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4)
    model.train()
    seen, total, started = 0, 0.0, 0.0
    while True:
        for x, y in DataLoader(data, batch_size=BATCH, shuffle=True):
            if seen == 3 * BATCH:
                started = time.process_time()
            optimiser.zero_grad()
            loss = functional.cross_entropy(model(x).logits, y)
            loss.backward()
            optimiser.step()
            total += loss.item()
            seen += BATCH
            if seen >= images + 3 * BATCH:
                return time.process_time() - started


def our_loop(network, protocol, precision, base, images):
    """Seconds of our loop for the same number of images, augmentation included."""
    from mien.recognition.fit import fit
    from mien.recognition.spec import FitSpec

    known = faces()
    few = known.take(np.arange(BATCH))
    clock = []

    def reached(_event):
        clock.append(time.process_time())

    # ``progress`` comes a hundred times: the first is where warm-up ends, the last the end.
    spec = FitSpec(
        protocol=protocol,
        kimg=images / 1000,
        epochs=1,
        batch=BATCH,
        precision=precision,
        base=base,
        evaluations=1,
        device="cpu",
    )
    train = known if protocol == "steps" else known.take(np.arange(images))
    fit(classifier(network), spec, train, few, progress=reached)
    return (clock[-1] - clock[0]) * images / (images - images / len(clock))


def serve(connection: Connection, loop, arguments):
    import torch

    torch.set_num_threads(1)
    while (images := connection.recv()) is not None:
        connection.send(images / loop(*arguments, images))


def measure(sides, images, turns):
    """Images a second of every side, turn by turn: {name: [rate, …]}."""
    context = multiprocessing.get_context("spawn")
    running = {}
    for name, (loop, *arguments) in sides.items():
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, loop, arguments), daemon=True)
        process.start()
        running[name] = (ours, process)
    rates = {name: [] for name in sides}
    for turn in range(turns + 1):
        for name, (connection, _) in running.items():
            connection.send(images)
            rate = connection.recv()
            if turn:  # the first warms up
                rates[name].append(rate)
    for connection, process in running.values():
        connection.send(None)
        process.join()
    return rates


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--turns", type=int, default=5)
    options.add_argument("--networks", nargs="+", default=["seed", "small"])
    given = options.parse_args()
    from mien.training.device import has_bf16

    print(f"processor multiplies bf16: {has_bf16('cpu')}; batch {BATCH}, {SIZE_PX} px, 1 thread\n")
    print(f"{'network':<8} {'loop':<34} {'images/s':>9} {'ratio':>7} {'range':>13}")
    for network in given.networks:
        sides = {
            "plain fp32 PyTorch, Adam": (plain_loop, network),
            "ours, Adam (paper), fp32": (our_loop, network, "paper", "fp32", "plain"),
            "ours, Adam (paper), auto": (our_loop, network, "paper", "auto", "plain"),
            "ours, Muon (steps), auto": (our_loop, network, "steps", "auto", "plain"),
            "ours, steps, auto, geometric": (our_loop, network, "steps", "auto", "geometric"),
        }
        rates = measure(sides, 320 if network == "seed" else 1600, given.turns)
        plain = rates["plain fp32 PyTorch, Adam"]
        for name, found in rates.items():
            ratios = [f / p for f, p in zip(found, plain, strict=True)]
            print(
                f"{network:<8} {name:<34} {statistics.median(found):9.0f} "
                f"{statistics.median(ratios):6.2f}× {min(ratios):5.2f}–{max(ratios):.2f}×",
                flush=True,
            )


if __name__ == "__main__":
    main()
