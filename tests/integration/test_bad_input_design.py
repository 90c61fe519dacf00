"""Designs that cannot be: people on both sides, empty classes, sums and ratios that do not fit."""

from __future__ import annotations

import json

import pytest
import yaml

from mien.registry.read import open_version

from .conftest import write_faces


def test_one_subject_in_two_databases(project):
    """A blind database that shows a training person is refused with the person's name."""
    write_faces(project.root / "blind")
    project.params(
        ingest=project.database("blind", "blind")
        | project.database("faces", "faces")
        | project.database("pool", "pool", origin="synthetic"),
        preprocess={
            "sets": {"faces": "ingest/faces", "pool": "ingest/pool", "blind": "ingest/blind"}
        },
        evaluate={"blind": ["blind"]},
    )
    params = yaml.safe_load((project.root / "params.yaml").read_text())
    params["ingest"]["blind"]["params"]["source"] = "faces"  # the same people under one name
    (project.root / "params.yaml").write_text(yaml.safe_dump(params))
    project.until("ingest", "split", "preprocess")
    project.refused("sweep", says=["SUBJECT_IN_TWO_SETS", "blind:blind", "faces:s00"])


def test_one_subject_in_two_parts_of_a_split(project):
    """A split file that somebody edited is noticed before anything trains."""
    project.until("ingest", "split", "preprocess")
    file = project.root / "data/split/split.json"
    value = json.loads(file.read_text())
    parts = value["splits"][0]["parts"]
    parts["test"][0] = parts["train"][0]
    file.write_text(json.dumps(value))
    project.refused("sweep", code=42, says=["SPLIT_OVERLAP", parts["train"][0]])


def test_one_subject_in_two_folders_of_ones_own(project):
    """The names are compared across the sets of `mien train` when files carry subjects."""
    for part in ("val", "test"):
        write_faces(project.root / part, 2, first=0 if part == "val" else 30)
        rows = [
            f"{p.relative_to(project.root / part)},{p.name[:4]}"
            for p in sorted((project.root / part).rglob("*.png"))
        ]
        (project.root / part / "manifest.csv").write_text("\n".join(["path,subject", *rows]))
    rows = [
        f"{p.relative_to(project.root / 'faces')},{p.name[:4]}"
        for p in sorted((project.root / "faces").rglob("*.png"))
    ]
    (project.root / "faces/manifest.csv").write_text("\n".join(["path,subject", *rows]))
    argv = ["train", "--train", "faces", "--validation", "val", "--test", "test"]
    project.refused(*argv, says=["SUBJECT_IN_TWO_SETS", "train", "validation", "s000"])


def test_a_class_without_samples(project):
    """A class that the parameters name and the database has not."""
    project.params(expressions=["anger", "happiness", "fear"]).until("ingest")
    project.refused("split", says=["CLASS_WITHOUT_SAMPLES", "faces", "fear"])


def test_a_database_without_subjects(project):
    """No names, no split by subject; what to write instead is said, and works."""
    faces = {"reader": "folder", "root": "faces", "params": {"source": "mine"}}
    pool = project.database("pool", "pool", origin="synthetic")
    project.params(ingest={"faces": faces} | pool).until("ingest")
    said = project.refused("split", says=["NO_SUBJECTS", "mine/anger/s000_0.png"])
    assert "split.by: sample" in said.err
    counts = {"train": 6, "validation": 4, "test": 4}
    project.params(
        ingest={"faces": faces} | pool,
        split={"database": "faces", "by": "sample", "counts": counts},
    ).until("split")


def test_a_ratio_larger_than_the_pool(project):
    """Three units of three need nine made people; seven are there."""
    project.params(sweep={"ratios": [1, 3]}).until("ingest", "split", "preprocess")
    says = ["RATIO_ABOVE_POOL", "r3@pool", "9 identities", "7"]
    project.refused("sweep", says=says)
    project.refused("sweep", "--plan", says=says)


@pytest.mark.parametrize(
    ("change", "reason", "says"),
    [
        ({"counts": {"train": 3, "validation": 2, "test": 1}}, "COUNTS_DO_NOT_ADD_UP", "6"),
        ({"counts": {"train": 5, "validation": 2, "test": 2}}, "COUNTS_DO_NOT_ADD_UP", "9"),
        ({"counts": {"train": 5, "test": 2}}, "SPLIT_PART_EMPTY", "split.counts.validation"),
        (
            {"counts": {}, "fractions": {"train": 0.5, "validation": 0.2, "test": 0.2}},
            "FRACTIONS_DO_NOT_ADD_UP",
            "0.9",
        ),
        ({"use": 4}, "USE_ABOVE_TRAIN", "split.use is 4"),
        ({"folds": 6}, "TOO_MANY_FOLDS", "split.folds is 6"),
    ],
)
def test_counts_that_do_not_add_up(project, change, reason, says):
    """What was asked, what was found, which key to correct."""
    project.params(split=change).until("ingest")
    project.refused("split", says=[reason, says])


def test_more_people_asked_for_than_there_are(project):
    """Two people cannot fill three parts."""
    for label in ("anger", "happiness"):
        for file in (project.root / "faces" / label).iterdir():
            if file.name > "s002":
                file.unlink()
    fractions = {"train": 0.6, "validation": 0.2, "test": 0.2}
    project.params(split={"counts": {}, "fractions": fractions}).until("ingest")
    project.refused("split", says=["TOO_FEW_SUBJECTS", "2 subjects", "split.fractions"])


@pytest.mark.parametrize(
    ("section", "change", "says"),
    [
        ("sweep", {"ratois": [1]}, ["sweep.ratois"]),
        ("sweep", {"seeds": 0}, ["sweep.seeds", "greater than or equal to 1"]),
        ("sweep", {"ratios": [0]}, ["sweep.ratios.0"]),
        ("preprocess", {"size_px": 4000}, ["preprocess.size_px", "1024"]),
        ("split", {"counts": {"train": 3, "trial": 2}}, ["split.counts.trial"]),
        ("decide", {"min_effect": 2}, ["decide.min_effect"]),
        ("evaluate", {"blind": ["nowhere"]}, ["evaluate.blind", "nowhere"]),
        ("expressions", ["anger", "hunger"], ["expressions", "hunger"]),
        ("expressions", ["anger"], ["expressions", "two"]),
    ],
)
def test_a_typo_or_a_value_out_of_range(project, section, change, says):
    """Every verb that reads the parameters names file and key, and does nothing."""
    project.params(**{section: change})
    for argv in (["params", "check"], ["ingest"]):
        project.refused(*argv, says=["params.yaml", *says])


def test_a_typo_is_told_what_it_resembles(project):
    """The nearest known key is offered."""
    project.params(sweep={"ratois": [1]})
    assert "'ratios'" in project.refused("params", "check").err


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"experiment: [", "PARAMS_SYNTAX"),
        (b"experiment: \xff\xfe", "PARAMS_SYNTAX"),
        (b"", "PARAMS"),
        (b"- 1", "PARAMS"),
        (b"experiment: a\nexperiment: b\n", "PARAMS_SYNTAX"),
    ],
    ids=["no YAML", "no UTF-8", "empty", "a list", "a key twice"],
)
def test_a_file_that_holds_no_parameters(project, text, reason):
    """Said with the file's name, never a traceback."""
    (project.root / "params.yaml").write_bytes(text)
    project.refused("params", "check", says=[f"[{reason}]", "params.yaml"])


def test_a_typo_in_a_readers_own_parameters(project):
    """The reader's parameters are validated as strictly."""
    project.params(
        ingest={"faces": {"reader": "folder", "root": "faces", "params": {"subjekt": "x"}}},
        preprocess={"sets": {"faces": "ingest/faces"}},
        sweep={"pools": ["faces"]},
    )
    project.refused("ingest", "faces", says=["READER_PARAMS", "subjekt"])


@pytest.mark.parametrize("name", ["../outside", "a/b", "", ".hidden", "Über"])
def test_a_name_that_is_no_name(project, name):
    """A new version's name cannot lead out of data/ingest."""
    before = sorted(project.root.rglob("*"))
    said = project.mien("ingest", "--reader", "folder", "--root", "faces", "--name", name)
    assert said.code == 2
    assert "--name" in said.err
    assert sorted(project.root.rglob("*")) == before


@pytest.mark.parametrize(
    ("sections", "verb", "says"),
    [
        ({"preprocess": {"detector": "yunet"}}, "preprocess faces", ["yunet"]),
        (
            {
                "ingest": {"london": {"reader": "london", "asset": "london"}},
                "preprocess": {"sets": {"faces": "ingest/london", "pool": "ingest/london"}},
            },
            "ingest london",
            ["london"],
        ),
        (
            {
                "morphable": "ict",
                "synthesise": {"invented": {"engine": "affect", "units": 1}},
            },
            "synthesise invented",
            ["ict"],
        ),
    ],
    ids=["yunet", "london", "ict"],
)
def test_a_missing_asset(project, sections, verb, says):
    """What is missing, and the two ways to get it; never another detector or head instead."""
    project.until("ingest", "split")
    project.params(**sections)
    said = project.refused(*verb.split(), says=["ASSET_MISSING", *says])
    assert "MIEN_ASSETS" in said.err
    assert "mien assets pull" in said.err


def test_synthetic_faces_never_become_real(project):
    """What an export says of its faces is believed; calling them real is refused."""
    project.until("ingest", "export data/ingest/pool out")
    again = ["ingest", "--reader", "folder", "--root", "out", "--name", "again"]
    project.refused(*again, "--origin", "real", says=["ORIGIN_CONFLICT", "made/anger/s000_0.png"])
    project.done(*again)
    made, back = (open_version(project.root / "data/ingest" / n) for n in ("pool", "again"))
    assert back.info.digest == made.info.digest


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({"sweep": {"pools": ["faces"]}}, ["faces must hold synthetic", "mine/anger"]),
        ({"evaluate": {"blind": ["pool"]}}, ["pool must hold real", "made/anger"]),
    ],
)
def test_faces_in_the_wrong_place(project, sections, says):
    """Real faces are no pool, and nobody is judged on synthetic ones."""
    project.until("ingest", "split", "preprocess")
    project.params(**sections)
    project.refused("sweep", says=["WRONG_ORIGIN", *says])
