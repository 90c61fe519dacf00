"""What must hold of every image, read from its Dockerfile: no container engine is needed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.images.dockerfile import FILES, ROOT, read

HADOLINT = ROOT / ".tools" / "bin" / "hadolint"
PROXIES = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS")
each = pytest.mark.parametrize("path", FILES, ids=lambda p: p.parent.name)


def tracked(*paths):
    """Files that git knows below these."""
    command = ["git", "ls-files", *paths]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.split()


@each
def test_hadolint_finds_nothing(path):
    """Its rules and shellcheck's, none of them switched off."""
    if not HADOLINT.exists():
        pytest.skip("SKIPPED hadolint: it is not in .tools; run: make tools")
    done = subprocess.run([HADOLINT, "--no-fail", path], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert "hadolint ignore" not in path.read_text()


@each
def test_images_below_come_by_digest(path):
    """A tag says which, a digest says what; all stages, and both files, start from one."""
    images = {stage.image for file in FILES for stage in read(file)}
    assert len(images) == 1
    assert all(re.fullmatch(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", i) for i in images)
    assert ":latest" not in path.read_text()


@each
def test_it_runs_as_a_numeric_user_that_owns_no_code(path):
    """A kubelet can only see that a number is not root; code is copied for root to own."""
    runtime = read(path)[-1]
    user = runtime.last("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    manifest = (ROOT / "k8s/base/hardened-pod.yaml").read_text()
    uid, gid = user.split(":")
    assert f"runAsUser: {uid}" in manifest
    assert f"runAsGroup: {gid}" in manifest
    assert all("--chown=0:0" in rest for rest in runtime.all("COPY"))
    words = [i.word for i in runtime.body]
    assert words.index("USER") > max(n for n, w in enumerate(words) if w in ("RUN", "COPY"))


@each
def test_signals_reach_the_process(path):
    """Exec form everywhere: a shell in between would keep SIGTERM for itself."""
    runtime = read(path)[-1]
    for word in ("ENTRYPOINT", "CMD"):
        if rest := runtime.last(word):
            assert rest.startswith("["), rest
    assert runtime.last("STOPSIGNAL") == "SIGTERM"
    assert "--start-period" in runtime.last("HEALTHCHECK")
    assert runtime.command("HEALTHCHECK")
    if path.parent.name == "mlflow":
        script = (ROOT / "mlflow/entrypoint.sh").read_text()
        assert script.rstrip().splitlines()[-1].startswith("exec ")


@each
def test_nothing_is_fetched_without_a_hash(path):
    """No ADD, no apt, no curl: what comes from outside comes through the one script."""
    for stage in read(path):
        assert stage.all("ADD") == []
        for run in stage.all("RUN"):
            assert not re.search(r"apt|curl|wget|git clone|sudo|pip install", run), run
            assert "build.sh" in run or "useradd" in run, run
    script = (ROOT / "services/image/build.sh").read_text()
    fetching = [x for x in script.splitlines() if re.search(r'pip" (install|wheel)', x)]
    assert fetching
    for line in re.sub(r"\\\n\s*", "", script).splitlines():
        if re.search(r'/pip" (.* )?(install|wheel) ', line):
            assert "--require-hashes" in line or "--no-index" in line, line


@each
def test_no_secret_is_built_in(path):
    """Only pip's places are given as arguments, none with a value, none kept in the image."""
    build, runtime = read(path)
    for name, value in build.arguments().items():
        if name in PROXIES:
            assert value == ""
    for stage in (build, runtime):
        names = {*stage.arguments(), *stage.environment()} - set(PROXIES)
        assert not [n for n in names if re.search(r"TOKEN|SECRET|PASSWORD|KEY|CREDENTIAL", n)]
    assert not set(PROXIES) & {*runtime.arguments(), *runtime.environment()}


@each
def test_paths_are_absolute_and_labels_are_given(path):
    """OCI's title, licence, version and revision; folders that mean the same from anywhere."""
    for stage in read(path):
        assert all(w.startswith("/") for w in stage.all("WORKDIR"))
        assert stage.last("SHELL") == '["/bin/bash", "-o", "pipefail", "-c"]'
    label = read(path)[-1].last("LABEL")
    for name in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{name}=" in label


@each
def test_what_is_copied_exists_and_may_enter(path):
    """Every source is tracked, and .dockerignore, which keeps all else out, lets it in."""
    ignored = [x for x in (ROOT / ".dockerignore").read_text().splitlines() if x[:1] not in "#"]
    assert ignored[0] == "*"
    allowed = [x[1:] for x in ignored if x.startswith("!")]
    for stage in read(path):
        for rest in stage.all("COPY"):
            words = [w for w in rest.split() if not w.startswith("--")]
            if "--from" in rest:
                continue
            for source in words[:-1]:
                assert tracked(source), source
                inside = (source.rstrip("/") == a or source.startswith(a + "/") for a in allowed)
                assert any(inside), source


@each
def test_the_manifests_start_what_the_image_has(path):
    """Commands, environment and read-only root of k8s/ agree with the image."""
    environment = read(path)[-1].environment()
    assert environment["HOME"] == "/tmp"
    assert environment["PATH"].startswith("/opt/")
    if path.parent.name == "services":
        for name in ("registry", "generation", "training", "serving"):
            text = (ROOT / f"k8s/base/{name}.yaml").read_text()
            assert 'command: [python]\n          args: ["-m", "services.' + name in text
            assert (ROOT / f"services/{name}/__main__.py").exists()
        return
    documents = yaml.safe_load_all((ROOT / "k8s/base/mlflow.yaml").read_text())
    pod = next(d for d in documents if d["kind"] == "Deployment")["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert "command" not in container
    assert container["args"] == read(path)[-1].command("CMD")
    read_by_entry = set(re.findall(r"MIEN_\w+", (ROOT / "mlflow/entrypoint.sh").read_text()))
    given = {e["name"] for e in container["env"] if e["name"].startswith("MIEN_")}
    assert given <= read_by_entry


def test_the_wheel_is_without_the_images_files():
    """Locks and Dockerfiles are for the build, not for who installs."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    left_out = project["tool"]["hatch"]["build"]["targets"]["wheel"]["exclude"]
    assert set(left_out) == {"services/Dockerfile", "services/image"}
    assert all(Path(ROOT / x).exists() for x in left_out)
