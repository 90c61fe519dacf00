"""A tour of the registry: freeze, find, name, compare, stream, trace and verify versions.

    python examples/registry_tour.py                                      # in ./registry
    MIEN_REGISTRY_TARGET=127.0.0.1:7101 python examples/registry_tour.py  # the service

Each `# %%` starts a cell for editors and notebooks that know them. Run twice, it finds everything
there already: the same content is the same version.
"""

# %% A registry: the service that the environment names, or a folder here.
from __future__ import annotations

from pathlib import Path

import mien
from mien.compose import make_registry
from mien.core.catalogue import ItemFilter
from mien.core.expression import Expression
from mien.core.generation import FacePlan
from mien.core.manifest import Licence, Provenance
from mien.generators.local import LocalGeneration
from mien.settings import load_settings

here = Path.cwd()
registry = make_registry(here, load_settings(here))

# %% Some faces: three invented people, each angry and happy. Nobody is shown.
plan = FacePlan("affect", (Expression.ANGER, Expression.HAPPINESS), 3, {"size_px": 64}, seed=7)
faces = list(LocalGeneration().stream_faces(plan))
made = Provenance("examples/registry_tour", plan.to_json(), code=mien.__version__)
free = {plan.source: Licence("CC0-1.0", commercial=True, consent="no person is shown")}

# %% Freeze them. The digest names every row and every byte; it is the same wherever it is made.
first = registry.create(
    "tour", (face.item for face in faces), provenance=made, licences=free, keep_duplicates=True
)
print(f"froze {first.name}: {first.rows} samples, {first.digest[:16]}")

# %% A second version, made from the first: the happy ones only. Items are streamed, and verified.
happy = ItemFilter(expressions=frozenset({Expression.HAPPINESS}))
second = registry.create(
    "tour",
    registry.items(first.digest, happy),
    provenance=Provenance("examples/registry_tour", {}, {"faces": first.digest}),
    licences=first.licences,
    keep_duplicates=True,
)
print(f"froze {second.name}: {second.rows} samples, {second.digest[:16]}")

# %% Find: by name (the latest), by digest, by alias. An alias moves only from where it is thought
# to be; versions never change.
registry.set_alias("tour", "reviewed", first.digest)
for reference in ("tour@reviewed", first.digest):
    entry = registry.entry(reference)
    print(f"{reference[:16]:<16} → {entry.info.digest[:16]}, entry {entry.sequence}")
print("history:", [(entry.sequence, entry.info.rows) for entry in registry.history("tour")])

# %% Compare.
difference = registry.diff(first.digest, second.digest)
print(f"added {difference.added}, removed {difference.removed}, changed {difference.changed}")
for group in difference.groups:
    print(f"  {group.by} {group.value}: {group.before} → {group.after}")

# %% Trace: what was it made from, and what was made from it?
for edge in registry.lineage(second.digest).edges:
    print(f"{edge.child[:16]} was made from {edge.parent[:16]} ({edge.role})")
for edge in registry.lineage(first.digest, down=True).edges:
    print(f"{edge.parent[:16]} was used for {edge.child[:16]} ({edge.role})")

# %% Verify: every byte is read where it lies.
found = registry.verify("tour@reviewed")
print(
    f"{found.items_right} of {first.rows} images are right; damage: {list(found.damage) or 'none'}"
)
