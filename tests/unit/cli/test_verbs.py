"""Verbs end to end in a folder of one's own, with real stages and files."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from mien.cli.main import run
from mien.cli.model_verbs import _sentence
from mien.morphable.builtin import BuiltinHead
from mien.registry.read import open_version

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A project folder with small parameters and its own cache."""
    for name in list(os.environ):
        if name.startswith("MIEN_"):
            monkeypatch.delenv(name)
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MIEN_TRACKING_URI", "none")
    (project / "params.yaml").write_text((ROOT / "params/smoke.yaml").read_text())
    return project


@pytest.fixture
def faces(tmp_path):
    """Somebody's own labelled folder."""
    rng = np.random.default_rng(0)
    for label in ("anger", "happiness"):
        (tmp_path / "own" / label).mkdir(parents=True)
        for i in range(3):
            image = rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)
            cv2.imwrite(str(tmp_path / "own" / label / f"{i}.png"), image)
    return tmp_path / "own"


def test_train_and_recognise_ones_own_photos(tmp_path, folder, capsys):
    """One command trains on folders, another recognises with what it left; a bad photo is told."""
    for part, seed in (("train", 0), ("validation", 1), ("test", 2)):
        rng = np.random.default_rng(seed)
        for label, bright in (("sadness", 40), ("surprise", 190)):
            (tmp_path / part / label).mkdir(parents=True)
            for i in range(8):
                image = rng.integers(bright, bright + 40, (24, 24), dtype=np.uint8)
                cv2.imwrite(str(tmp_path / part / label / f"{i}.png"), image)
    argv = ["--quiet", "train", "--kimg", "0.4", "--size-px", "16", "--batch", "8"]
    argv += ["--out", "mine", "--threads", "1", "--augment", "plain"]
    for part in ("train", "validation", "test"):
        argv += [f"--{part}", str(tmp_path / part)]
    assert run(argv) == 0
    assert "test/accuracy" in capsys.readouterr().out
    photo = tmp_path / "test" / "surprise" / "0.png"
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    assert run(["--quiet", "recognise", "mine/model", str(photo), str(bad), "--json"]) == 0
    shown = capsys.readouterr()
    good, failure = [json.loads(line) for line in shown.out.splitlines()]
    assert set(good["probabilities"]) == {"sadness", "surprise"}
    assert "failure" in failure
    assert "1 of 2" in shown.err
    assert run(["--quiet", "recognise", "mine/model", str(bad)]) == 2
    assert run(["--quiet", "recognise", "nothing", str(photo)]) == 2
    assert "MODEL_MISSING" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("found", "line"),
    [
        ({"photo": "a", "failure": "no_face"}, "a: no_face"),
        (
            {"photo": "a", "probabilities": {"anger": 0.1, "fear": 0.9}},
            "a: fear 90%, anger 10%",
        ),
        (
            {"photo": "a", "affect": {"valence": 0.5, "arousal": -0.25}},
            "a: valence +0.50, arousal -0.25",
        ),
    ],
)
def test_what_was_recognised_is_a_line(found, line):
    """The likeliest first; a point of affect where the model gives one."""
    assert _sentence(found) == line


def test_params_check_passes_and_names_what_is_wrong(folder, capsys):
    """Good parameters are said to be; a typo is an error that names the key."""
    assert run(["params", "check"]) == 0
    assert "good" in capsys.readouterr().out
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["sweep"]["ratois"] = [1]
    (folder / "other.yaml").write_text(yaml.safe_dump(params))
    assert run(["--params", "other.yaml", "params", "check"]) == 2
    assert "sweep.ratois" in capsys.readouterr().err
    assert run(["--params", "none.yaml", "params", "check"]) == 2
    assert "PARAMS_FILE" in capsys.readouterr().err


def test_a_wrong_setting_is_named(monkeypatch, capsys):
    """A bad MIEN_* variable stops a verb before it starts."""
    monkeypatch.setenv("MIEN_WORKERS", "many")
    assert run(["split"]) == 2
    assert "MIEN_WORKERS" in capsys.readouterr().err


def test_own_synthetic_faces_become_a_pool_verified_and_exported(folder, faces, capsys):
    """Ingest --origin synthetic, verify, export, and a wrong byte found; no parameters needed."""
    (folder / "params.yaml").unlink()
    argv = ["ingest", "--reader", "folder", "--root", str(faces), "--name", "mine"]
    assert run(["--quiet", *argv, "--origin", "synthetic"]) == 0
    assert "6 images, synthetic" in capsys.readouterr().out
    version = folder / "data/ingest/mine"
    assert run(["--quiet", "verify", str(version)]) == 0
    assert "every byte as written" in capsys.readouterr().out
    assert run(["--quiet", "export", str(version), "out", "--format", "csv"]) == 0
    assert "6 images" in capsys.readouterr().out
    shard = next(p for p in version.rglob("*.parquet") if p.name != "manifest.parquet")
    damaged = bytearray(shard.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    shard.chmod(0o644)
    shard.write_bytes(damaged)
    assert run(["--quiet", "verify", str(version)]) == 42


def test_a_reader_takes_its_parameters_from_the_command_line(folder, faces, capsys):
    """--reader-param: subjects from file names, values as YAML; what is wrong is named."""
    (folder / "params.yaml").unlink()
    argv = ["--quiet", "ingest", "--reader", "folder", "--root", str(faces), "--name", "mine"]
    argv += ["--reader-param", "source=club", "--reader-param"]
    assert run([*argv, r"subject=(\d)\.png"]) == 0
    version = open_version(folder / "data/ingest/mine")
    assert version.manifest.subjects == ("club:0", "club:1", "club:2")
    assert version.info.provenance.params == {"source": "club", "subject": r"(\d)\.png"}
    for pair, says in (
        ("subjekt=x", "[READER_PARAMS]"),
        ("subject", "[OPTION_PAIR]"),
        ("source=again", "second time"),
        ("ignore=[", "not YAML"),
        ("ignore=5", "ignore"),
    ):
        assert run([*argv, pair]) == 2
        said = capsys.readouterr().err
        assert says in said
        assert "mien: hint: " in said


def test_a_rendered_database_names_its_head(folder, capsys):
    """It needs no root, and its provenance holds the digest of the head it was rendered with."""
    argv = ["--quiet", "ingest", "--reader", "demo_lab", "--name", "lab"]
    assert run([*argv, "--reader-param", "subjects=1", "--reader-param", "size_px=16"]) == 0
    parents = open_version(folder / "data/ingest/lab").info.provenance.parents
    assert parents == {"head": BuiltinHead.load().digest}
    assert run([*argv, "--root", "x"]) == 2
    assert "ROOT_UNUSED" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [
        ["ingest", "--root", "x"],
        ["ingest", "--reader-param", "subjects=3"],
        ["ingest", "lab", "--reader", "folder", "--root", "x", "--name", "y"],
        ["ingest", "--reader", "folder"],
        ["ingest", "--reader", "folder", "--root", "x", "--name", "y", "--origin", "fake"],
        ["export", "a", "b", "--format", "zip"],
        ["train", "--train", "a", "--validation", "b", "--protocol", "luck"],
    ],
)
def test_options_that_do_not_go_together(argv, capsys):
    """Exit code 2 and which option."""
    assert run(argv) == 2
    assert "--" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["ingest", "nowhere"], "UNKNOWN_DATABASE"),
        (["split"], "STAGE_MISSING"),
        (["sweep"], "STAGE_MISSING"),
        (["sweep", "--plan"], "STAGE_MISSING"),
        (["report"], "STAGE_MISSING"),
        (["trial", "plan.json"], "PLAN_MISSING"),
        (["verify", "data"], "VERSION"),
        (["assets", "pull", "moon", "--yes"], "UNKNOWN_ASSET"),
    ],
)
def test_the_users_mistakes_are_sentences(argv, reason, capsys):
    """What is missing is said with a reason and what to do; exit code 2."""
    assert run(["--quiet", *argv]) == 2
    shown = capsys.readouterr().err
    assert reason in shown
    assert "hint:" in shown


def test_terms_come_before_a_download(folder, capsys):
    """Without --yes and without a terminal nothing is downloaded; the terms were shown."""
    assert run(["assets", "pull", "london"]) == 2
    shown = capsys.readouterr()
    assert "CC-BY-4.0" in shown.out
    assert "signed consent" in " ".join(shown.out.split())
    assert "LICENCE_NOT_ACCEPTED" in shown.err
    assert not (folder.parent / "cache" / "assets").exists()


def test_a_mirror_without_the_asset_is_said(monkeypatch, capsys):
    """Nobody at the mirror's address: one sentence, exit code 1, may be tried again."""
    monkeypatch.setenv("MIEN_ASSET_MIRROR", "http://127.0.0.1:1")
    monkeypatch.setattr("mien.adapters.assets.download.TRIES", 1)
    assert run(["--quiet", "assets", "pull", "yunet", "--yes"]) == 1
    assert "DOWNLOAD_FAILED" in capsys.readouterr().err


def test_assets_are_listed(tmp_path, monkeypatch, capsys):
    """Each with its licence and whether it is here."""
    (tmp_path / "open/yunet").mkdir(parents=True)
    (tmp_path / "open/yunet/face_detection_yunet_2023mar.onnx").touch()
    monkeypatch.setenv("MIEN_ASSETS", str(tmp_path / "open"))
    assert run(["assets", "list"]) == 0
    shown = capsys.readouterr().out
    assert "yunet (present)" in shown
    assert "ict (missing" in shown
    assert "MIT" in shown


def test_a_server_is_no_ui(monkeypatch, capsys):
    """`mien ui` opens databases; a server's address is opened in the browser instead."""
    monkeypatch.setenv("MIEN_TRACKING_URI", "http://host:5000")
    assert run(["ui"]) == 2
    assert "UI_NEEDS_DATABASE" in capsys.readouterr().err


def test_a_port_in_use_is_said(monkeypatch, capsys):
    """A busy port: WrongState, and which option to use."""
    import socket

    monkeypatch.setenv("MIEN_TRACKING_URI", "sqlite:///mlflow.db")
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        assert run(["ui", "--port", str(busy.getsockname()[1])]) == 2
    assert "--port" in capsys.readouterr().err


def test_params_can_be_overridden_for_one_command(capsys):
    """--set reaches the check."""
    assert run(["--set", "sweep.ratios=[2]", "params", "check"]) == 0
    assert "ratios [2]" in capsys.readouterr().out
    assert run(["--set", "sweep.ratios=[0]", "params", "check"]) == 2


def test_doctor_speaks_json(capsys, monkeypatch):
    """--json is one object; a broken requirement gives exit code 1."""
    monkeypatch.setattr("mien.cli.doctor._accelerator", lambda _: [])  # torch costs seconds
    monkeypatch.setattr("mien.cli.doctor._tools", lambda _: [])
    assert run(["doctor", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["ok"]
    assert {"python", "memory", "libraries", "tracking"} <= {c["name"] for c in said["checks"]}
    monkeypatch.setenv("MIEN_WORKERS", "many")
    assert run(["doctor"]) == 1
    assert "MIEN_WORKERS" in capsys.readouterr().out
