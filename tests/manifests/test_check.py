"""The check of the manifests, checked: old tools, missing tools, broken manifests, releases."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
import yaml

from k8s.check import release, steps
from k8s.check.__main__ import check
from k8s.check.rendering import CannotRender, documents, find_renderer, render_combination
from tests.manifests.conftest import K8S, renderer

BARE = "/nowhere"


def tool(folder, name, *lines):
    """Put a program of this name into a folder."""
    file = folder / name
    file.write_text("#!/bin/sh\n" + "\n".join(f"echo '{line}'" for line in lines) + "\n")
    file.chmod(0o755)


def run(path, **environ):
    """Run the check with this PATH; returns (exit code, what it says)."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("CHECK_")}
    done = subprocess.run(
        [sys.executable, "-m", "k8s.check"],
        cwd=K8S.parent,
        env={**env, "PATH": str(path), **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_debians_kubectl_is_named_and_refused(tmp_path, monkeypatch):
    """1.20 knows no components: the words say what it is, what is needed, and where not to look."""
    tool(tmp_path, "kubectl", 'Client Version: version.Info{Minor:"20+", GitVersion:"v1.20.5-rc1"}')
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotRender, match=r"kubectl is 1\.20, older than 1\.27 \(Debian 12"):
        find_renderer()


def test_an_old_kubectl_does_not_hide_a_new_kustomize(tmp_path, monkeypatch):
    """Either will do."""
    tool(tmp_path, "kubectl", "Client Version: v1.20.2")
    tool(tmp_path, "kustomize", "v5.5.0")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_renderer().name == "kustomize 5.5"


def test_without_a_tool_it_skips_aloud_and_strict_fails(tmp_path):
    """Every step that could not run says SKIPPED and why; CHECK_STRICT makes that an error."""
    code, said = run(BARE)
    assert code == 0, said
    assert "SKIPPED render: kubectl is not on the PATH; kustomize is not on the PATH" in said
    for name in ("kubernetes-validate", "checkov", "policies", "release"):
        assert f"SKIPPED {name}: nothing was rendered" in said
    code, said = run(BARE, CHECK_STRICT="1")
    assert code == 1
    assert "CHECK_STRICT is set: what was skipped fails: render, kubernetes-validate" in said


def test_a_manifest_that_does_not_render_fails(tmp_path, capsys):
    """The tool's words come through, and nothing after it is called checked."""
    renderer()
    broken = tmp_path / "k8s"
    shutil.copytree(K8S, broken)
    (broken / "base" / "kustomization.yaml").write_text("resources: [nothing-of-the-sort.yaml]\n")
    verdict = check(broken, {})
    said = capsys.readouterr().out
    assert "render" in verdict.failed
    assert "nothing-of-the-sort.yaml" in said
    assert verdict.exit_code(strict=False) == 1
    assert "checkov" in verdict.skipped


def rendered(scratch, edit):
    """Render the base and edit one Deployment of it; returns that one."""
    found = documents(render_combination(renderer(), scratch, ()))
    document = next(d for d in found if d["kind"] == "Deployment")
    edit(document["spec"])
    return {"broken": yaml.safe_dump(document)}


def test_an_unknown_field_is_found_by_the_schemas(tmp_path):
    """A typing error that the API server would drop."""
    with pytest.raises(steps.Wrong, match="replcas"):
        steps.check_schemas(rendered(tmp_path, lambda spec: spec.update(replcas=3)), tmp_path)


def test_two_objects_of_one_name_are_found():
    """The API server would keep the last one only; and a rendering that runs nothing is empty."""
    one = "apiVersion: v1\nkind: Service\nmetadata: {name: x}\n"
    with pytest.raises(steps.Wrong, match="mix: rendered twice: Service/x"):
        steps.check_names("mix", f"{one}---\n{one}")
    with pytest.raises(steps.Wrong, match="runs nothing"):
        steps.check_names("mix", one)


def test_a_kind_nobody_knows_is_found(tmp_path):
    """Operators' kinds are counted apart; a kind of nobody's is an error, not a warning."""
    text = "apiVersion: apps/v9\nkind: Deploymint\nmetadata: {name: x}\n"
    with pytest.raises(steps.Wrong, match="Deploymint"):
        steps.check_schemas({"x": text}, tmp_path)


def test_a_privileged_container_is_found_by_checkov(tmp_path):
    """And every rule it is told to skip has its reason beside it."""
    if not steps.CHECKOV.exists():
        pytest.skip("SKIPPED checkov: it is not in .tools; run: make tools")

    def open_up(spec):
        spec["template"]["spec"]["containers"][0]["securityContext"] = {"privileged": True}

    with pytest.raises(steps.Wrong, match="CKV_K8S_16"):
        steps.check_security(rendered(tmp_path, open_up), tmp_path)


def test_every_skipped_rule_has_a_reason():
    """A comment stands right above the rules that checkov is told to skip."""
    lines = steps.CHECKOV_CONFIG.read_text().splitlines()
    skipped = [n for n, line in enumerate(lines) if line.strip().startswith("- CKV")]
    assert len(skipped) == len(yaml.safe_load("\n".join(lines))["skip-check"])
    assert all(lines[n - 1].strip().startswith("#") for n in skipped)


def test_an_unreleased_overlay_is_told_and_refused(tmp_path):
    """Zeros are told every time; who is about to apply sets CHECK_RELEASED and is refused."""
    text = f"image: mien-services@{steps.UNRELEASED}\n"
    assert "UNRELEASED mien-services" in steps.check_released({"overlays/x": text}, must=False)
    with pytest.raises(steps.Wrong, match="make release"):
        steps.check_released({"overlays/x": text}, must=True)
    filled = text.replace("0" * 64, "1" * 64)
    assert steps.check_released({"overlays/x": filled}, must=True)


def test_a_release_is_written_and_renders(tmp_path):
    """Names, tags and digests come out in every overlay; workers run the services' own image."""
    shutil.copytree(K8S, tmp_path / "k8s")
    file = tmp_path / "k8s/components/release/kustomization.yaml"
    digest = {n: "sha256:" + n * 64 for n in "123"}
    given = [
        f"mien-services=registry.example:5000/mien/services:0.1.0@{digest['1']}",
        f"mien-mlflow=registry.example/mien/mlflow@{digest['2']}",
        f"mien-triton=registry.example/tritonserver:26.10-py3@{digest['3']}",
    ]
    for _ in range(2):  # a second time replaces what the first wrote
        assert release.main(given, file) == 0
        text = renderer()(tmp_path / "k8s" / "overlays" / "gpu")
        assert f"image: registry.example:5000/mien/services:0.1.0@{digest['1']}" in text
        assert f"value: registry.example:5000/mien/services:0.1.0@{digest['1']}" in text
        assert f"image: registry.example/mien/mlflow@{digest['2']}" in text
        assert f"image: registry.example/tritonserver:26.10-py3@{digest['3']}" in text
        assert steps.UNRELEASED not in text
    assert "postgres" in file.read_text()
    assert file.read_text().count("# ") == release.RELEASE.read_text().count("# ")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "no image is given"),
        (["mien-services=here:latest"], "is not name=where@sha256"),
        ([f"mien-services=here@{steps.UNRELEASED}"], "was not built"),
        ([f"mien-nothing=here@sha256:{'1' * 64}"], "have no image mien-nothing"),
        ([f"mien-mlflow=here@sha256:{'1' * 64}"] * 2, "given twice"),
    ],
)
def test_what_is_no_release_is_refused_whole(given, words, tmp_path, capsys):
    """Exit code 2, a sentence, and the file as it was."""
    file = tmp_path / "kustomization.yaml"
    shutil.copy(release.RELEASE, file)
    assert release.main(given, file) == 2
    assert words in capsys.readouterr().err
    assert file.read_text() == release.RELEASE.read_text()
