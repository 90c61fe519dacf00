"""Retrain: data, pipeline, gate, push, commit, report, challenger; in this order, or not at all.

What can be seen from outside moves late and in the order of what it needs: data before the commit
that names it, the commit before the model that came of it. Whatever is killed or refused in
between leaves the challenger where it was, and the next run goes on from the journal.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from mien.core.digest import digest_bytes, digest_of
from mien.core.errors import Interrupted, Unavailable, WrongState
from mien.core.ports import Models
from mien.core.serving import CHALLENGER, CHAMPION, MODEL, GateCheck, ModelInfo
from mien.params.project import parse_params
from mien.recognition.package import Package
from mien.registry.layout import INFO
from mien.stages import verify
from mien.stages.context import Context, whole
from mien.stages.retrain_change import ParamsFile, changed_text
from mien.stages.retrain_doors import Doors, Outcome, Request
from mien.stages.retrain_journal import Journal
from mien.stages.retrain_package import package_of, registered_package
from mien.stages.retrain_report import FOLDER, Facts, without_pictures, write_report

log = logging.getLogger(__name__)

LOCK = "dvc.lock"
PARAMS = "params.yaml"
IN_GIT = ("data/metrics", "data/plots")  # what DVC leaves to git


def run(doors: Doors, request: Request) -> Outcome:
    """Retrain a branch, or go on with what an earlier run of the same request began.

    Raises:
        Unavailable: ``BRANCH_MOVED``, ``SUPERSEDED``, ``REMOTE_AWAY``, ``PIPELINE`` …: run again.
        Corrupt: the data's remote is damaged, or the pipeline will fail again.
        WrongState: ``NO_GATE``, ``NO_MODEL_REGISTRY``. Interrupted: when cancelled.
    """
    params = ParamsFile(doors.root / PARAMS, doors.folder)
    _models(doors.context())
    before = params.original()
    after = changed_text(before, request.change)
    if parse_params(yaml.safe_load(after)).gate.set is None:
        raise _no_gate()
    tip = doors.branch.tip()
    began = [doors.branch.head, doors.branch.uncommitted()[1], doors.branch.onto]
    key = digest_of([*began, request.change.lines(), after])[:16]
    journal = Journal(doors.folder / key)
    if (ended := _ended(doors, request, journal, tip)) is not None:
        return ended
    work = _Retraining(doors, request, journal, params, key, tip)
    work.begin()
    work.fetch()
    params.change(before, after)
    work.make()
    return work.judge()


def _ended(doors: Doors, request: Request, journal: Journal, tip: str) -> Outcome | None:
    """Return what came of this request, if it came to its end and that still holds."""
    end = journal.done("end")
    if end is None:
        return None
    outcome = Outcome(**{**end.result, "report": Path(end.result["report"]), "again": True})
    same = end.inputs == _end_inputs(doors, request, tip, outcome)
    return outcome if same and outcome.report.exists() else None


def _end_inputs(doors: Doors, request: Request, tip: str, outcome: Outcome) -> str:
    """Name what makes an end an end: a refusal holds against those who were there."""
    models = _models(doors.context())
    aliases = [models.pointed(MODEL, CHAMPION), models.pointed(MODEL, CHALLENGER)]
    here = tip if outcome.state == "promoted" else ""
    return digest_of([outcome.state, aliases, here, request.promote, request.pull_request])


@dataclass(slots=True)
class _Retraining:
    """One retraining under way."""

    doors: Doors
    request: Request
    journal: Journal
    params: ParamsFile
    key: str
    tip: str

    def begin(self) -> None:
        """Start from the data of the last retraining, where nobody worked here since."""
        doors = self.doors
        resumed = self.journal.done("begin") is not None
        lock = doors.root / LOCK
        mine = lock.read_bytes() if lock.exists() else None
        untouched = not resumed and mine == doors.branch.read(doors.branch.head, LOCK)
        if mine is None or untouched:
            self._take(self.tip)
        if not resumed:
            self._keep_lock()
        self.journal.once("begin", self.tip, lambda: {"tip": self.tip, "head": doors.branch.head})

    def fetch(self) -> None:
        """Pull, and compare every byte of every dataset version with its manifest."""
        if (self.doors.root / LOCK).exists():
            self._step("pull", lambda: {"objects": self.doors.data.pull().objects})
        self._step("verify", lambda: verified(self.doors.root))

    def make(self) -> None:
        """Run the pipeline; stages that have not changed are skipped."""

        def work() -> dict[str, Any]:
            self.doors.given()
            self.doors.repro(self.journal.file.parent / "pipeline.json")
            return {"lock": self._lock_digest()}

        self._step("pipeline", work)
        self._step("made", lambda: verified(self.doors.root))

    def judge(self) -> Outcome:
        """Ask the gate, and go on, or say why not."""
        context = self.doors.context()
        models = _models(context)
        package = package_of(context, models)
        gate = self._gated(context, models, package)
        failed = [GateCheck(**c) for c in gate["checks"] if not c["passed"]]
        if failed:
            return self._refuse(context, gate, failed)
        self._step("push", lambda: {"objects": self.doors.data.push().objects}, once=True)
        report = self._report(context, gate, "promoted")
        commit = self._commit(report, gate)
        info = self._challenge(models, context, package, gate, commit)
        outcome = Outcome("promoted", report, info.name, commit)
        if self.request.promote == CHAMPION:
            self.doors.champion(info.name)
        return self._end(outcome)

    # Steps

    def _step(
        self, name: str, work: Callable[[], Mapping[str, Any]], *, once: bool = False
    ) -> Mapping[str, Any]:
        """Do a step and log it; with ``once`` not again for the same data."""
        if self.doors.cancelled():
            raise Interrupted("retraining stopped; run the same again to go on")
        log.info("retrain", extra={"step": name, "of": self.key})
        do = self.journal.once if once else self.journal.note
        return do(name, self._lock_digest(), work)

    def _lock_digest(self) -> str:
        lock = self.doors.root / LOCK
        return digest_bytes(lock.read_bytes()) if lock.exists() else ""

    def _take(self, commit: str) -> None:
        """Take what says which data there is from the last retraining's commit."""
        branch = self.doors.branch
        if not commit or (lock := branch.read(commit, LOCK)) is None:
            return
        for path in (p for folder in IN_GIT for p in branch.below(commit, folder)):
            found = branch.read(commit, path)
            if found is not None and not path.startswith(f"{FOLDER}/"):
                _write(self.doors.root / path, found)
        _write(self.doors.root / LOCK, lock)

    def _keep_lock(self) -> None:
        """Keep what a refusal takes back, and the figures that the new ones are compared with."""
        kept = self.journal.file.parent / "before"
        shutil.rmtree(kept, ignore_errors=True)
        for path in (LOCK, *IN_GIT):
            source, target = self.doors.root / path, kept / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target)
            elif source.exists():
                shutil.copy(source, target)

    def _gated(self, context: Context, models: Models, package: Package) -> Mapping[str, Any]:
        """Judge the package against who is there, once: the gate's faces wear out by use."""
        there = [i for a in (CHAMPION, CHALLENGER) if (i := _pointed(models, a)) is not None]
        same = any(i.lineage.model_digest == package.digest for i in there)
        known = self.journal.done("gate")
        against = there[0] if there else None
        digest = against.lineage.model_digest if against else ""
        inputs = digest_of([package.digest, digest, context.params.gate.model_dump(mode="json")])
        if known and known.result["package"] == package.digest:
            passed = all(c["passed"] for c in known.result["checks"])
            # One that was refused and is there all the same was registered by a person.
            if known.inputs == inputs or (same and passed):
                return known.result

        def work() -> dict[str, Any]:
            checks: Sequence[GateCheck] = ()
            if not same:
                gate, variant = self.doors.gate()
                if gate is None:
                    raise _no_gate()
                before = registered_package(context, models, against) if against else None
                checks = gate(package, variant, before)
            return {
                "package": package.digest,
                "against": against.name if against else "",
                "same": same,
                "checks": [asdict(c) for c in checks],
            }

        return self.journal.note("gate", inputs, work)

    def _report(self, context: Context, gate: Mapping[str, Any], state: str) -> Path:
        trial = context.read_json("decide", "decision.json")["challenger"]["trial"]
        facts = Facts(
            state=state,
            branch=self.doors.branch.branch,
            onto=self.doors.branch.onto,
            head=self.doors.branch.head,
            uncommitted=self.doors.branch.uncommitted()[0],
            key=self.key,
            asked=tuple(self.request.change.lines()),
            checks=tuple(GateCheck(**c) for c in gate["checks"]),
            against=gate["against"],
            same=gate["same"],
            runs=tuple(self.doors.runs(context.params.experiment, trial)),
            cpu_s=self.journal.cpu_s,
            wall_s=self.journal.wall_s,
            lock=self._lock_digest(),
            before=self.journal.file.parent / "before",
        )
        folder = self.journal.file.parent / "report"
        return write_report(context, facts, folder)

    def _commit(self, report: Path, gate: Mapping[str, Any]) -> str:
        """Push the commit that names the data; found again where it was pushed unrecorded."""
        root, branch = self.doors.root, self.doors.branch
        if self.tip and branch.key_of(self.tip) == self.key:
            known = self.journal.done("commit", self._lock_digest())
            if known is not None or branch.read(self.tip, LOCK) == (root / LOCK).read_bytes():
                return self.tip
        files = {LOCK: root / LOCK, PARAMS: root / PARAMS}
        for folder in IN_GIT:
            for file in sorted((root / folder).rglob("*")):
                path = str(file.relative_to(root))
                if file.is_file() and not path.startswith(f"{FOLDER}/"):
                    files[path] = file
        head = branch.head
        if gate["same"] and all(branch.read(head, p) == f.read_bytes() for p, f in files.items()):
            return head  # what is retrained is what was merged: there is nothing to add to it
        files |= {f"{FOLDER}/{p.name}": p for p in sorted(report.parent.iterdir())}
        lines = [f"Retrain {branch.branch}", "", *self.request.change.lines()]
        message = "\n".join(lines).strip()

        def work() -> dict[str, Any]:
            made = branch.publish(files, message, key=self.key, tip=self.tip)
            return {"commit": made.commit}

        self.tip = str(self._step("commit", work)["commit"])
        return self.tip

    def _challenge(
        self,
        models: Models,
        context: Context,
        package: Package,
        gate: Mapping[str, Any],
        commit: str,
    ) -> ModelInfo:
        """Register the model and point the challenger at it, while the branch is still ours."""
        if self.doors.branch.tip() != self.tip:
            raise Unavailable(
                "SUPERSEDED",
                f"{self.doors.branch.onto} has moved on since this retraining was committed",
                hint="run again only if this model shall follow the later one",
            )
        trial = context.read_json("decide", "decision.json")["challenger"]["trial"]
        runs = self.doors.runs(context.params.experiment, trial)
        tracked = next((r.key for r in runs if r.key), "")

        def work() -> dict[str, Any]:
            info = models.register(MODEL, package.folder, run=tracked)
            noted = "; ".join(f"{c['check']}: {c['finding']}" for c in gate["checks"])
            notes = {"mien.commit": commit, "mien.retrain": self.key}
            gated = {"mien.gate": "passed", "mien.why": noted} if noted else {}
            models.note(info.name, notes | gated)
            return {"model": info.name}

        return models.get(str(self._step("challenger", work)["model"]))

    def _refuse(
        self, context: Context, gate: Mapping[str, Any], failed: Sequence[GateCheck]
    ) -> Outcome:
        """Report, and take parameters and lock back; the data stays in the cache."""
        report = self._report(context, gate, "refused")
        kept = self.journal.file.parent / "before" / LOCK
        if kept.exists():
            _write(self.doors.root / LOCK, kept.read_bytes())
        self.params.restore()
        why = "; ".join(f"{c.check}: {c.finding}" for c in failed)
        return self._end(Outcome("refused", report, why=why))

    def _end(self, outcome: Outcome) -> Outcome:
        """Comment where that was asked for, and write the last line."""
        if self.request.pull_request:
            done = f"\nThe challenger is now **{outcome.model}**.\n" if outcome.model else ""
            text = outcome.report.read_text(encoding="utf-8") + done
            if outcome.state == "refused":  # its pictures were not pushed
                text = without_pictures(text)
            asked = self.request.pull_request
            self.journal.once(
                "comment",
                digest_of([asked, text]),
                lambda: {"address": self.doors.comment(asked, text)},
            )
        self.params.keep()
        inputs = _end_inputs(self.doors, self.request, self.tip, outcome)
        plain = {**asdict(outcome), "report": str(outcome.report)}
        self.journal.note("end", inputs, lambda: plain)
        return outcome


def verified(root: Path) -> dict[str, Any]:
    """Read every dataset version below ``data/`` completely; returns where → digest.

    Raises:
        Corrupt: naming the first bad item.
    """
    folders = sorted(f.parent for f in (root / "data").glob(f"*/*/{INFO}"))
    return {str(f.relative_to(root)): verify.run(f).digest for f in folders}


def _models(context: Context) -> Models:
    if context.models is None:
        raise WrongState(
            "NO_MODEL_REGISTRY",
            "there is no model registry: nothing records who is challenger",
            hint="set MIEN_TRACKING_URI to an MLflow database or server",
        )
    return context.models


def _no_gate() -> WrongState:
    return WrongState(
        "NO_GATE",
        "params.gate.set names no faces to judge a challenger on",
        hint="name a preprocessed set that nothing was trained or selected on",
    )


def _pointed(models: Models, alias: str) -> ModelInfo | None:
    version = models.pointed(MODEL, alias)
    return models.get(f"{MODEL}/{version}") if version else None


def _write(file: Path, data: bytes) -> None:
    with whole(file) as temporary:
        temporary.write_bytes(data)
