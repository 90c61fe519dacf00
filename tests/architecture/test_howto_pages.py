"""What the how-to pages tell people to type, read or set exists."""

import re
import shutil
from functools import cache
from pathlib import Path

import pytest
import typer

from mien.adapters.kubernetes.errors import error_of
from mien.settings import Settings
from services.chassis.settings import ServerSettings

ROOT = Path(__file__).resolve().parents[2]
PAGES = [pytest.param(p, id=p.stem) for p in sorted((ROOT / "docs" / "howto").glob("*.md"))]
CODE = ("src", "services", "k8s", "mlflow", "tests", ".github", "Makefile")
PLACE = re.compile(
    r"(?<![\w/.$:-])"
    r"((?:k8s|src|services|tests|benchmarks|docs|params|proto|examples|mlflow|\.github)/[\w./-]+)"
)
MIEN = re.compile(r"(?:^|[;&(] ?|[A-Z_]=\S+ )mien ([^#;&`]+)")  # where a command begins
OF_THE_READER = {"params/mine.yaml"}  # files that a page has its reader write
OF_THE_MAIN_PATH = re.compile(r"[a-z][a-z-]+")


def code_of(page):
    """Lines of the blocks of code, and the spans of code in the text."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    joined = "\n".join(blocks).replace("\\\n", " ")
    return [*joined.splitlines(), *spans]


@cache
def program():
    """The command line, as click knows it."""
    from mien.cli.app import app

    return typer.main.get_command(app)


@cache
def read_by_code():
    """Every MIEN_ name in code, manifests and workflows."""
    found = {f"MIEN_{name.upper()}" for name in Settings.model_fields}
    found |= {f"MIEN_SERVER_{name.upper()}" for name in ServerSettings.model_fields}
    for part in CODE:
        place = ROOT / part
        for file in [place] if place.is_file() else place.rglob("*"):
            if file.suffix in (".py", ".yaml", ".yml", ".sh", "") and file.is_file():
                found |= set(re.findall(r"MIEN_[A-Z0-9_]+", file.read_text(errors="replace")))
    return found


def options(command):
    return {o for p in command.params for o in (*p.opts, *p.secondary_opts)}


def wrong(words):
    """What is wrong with the words after `mien`, or None."""
    known = program()
    words = list(words)
    while words and words[0].startswith("-"):
        if (flag := words.pop(0).split("=")[0]) not in options(known) | {"-h", "--help"}:
            return f"mien has no {flag}"
        takes = next((p for p in known.params if flag in p.opts), None)
        if takes is not None and not takes.is_flag and words:
            words.pop(0)
    if not words or not OF_THE_MAIN_PATH.fullmatch(words[0]):
        return None  # a sentence, or a list of verbs
    verb = words.pop(0)
    if verb not in known.commands:
        return f"mien has no verb {verb}"
    command = known.commands[verb]
    while words and hasattr(command, "commands"):
        asked = words.pop(0).split("|")
        if lost := [a for a in asked if a not in command.commands]:
            return f"mien {verb} has no {lost}"
        command = command.commands[asked[0]]
    flags = [w.split("=")[0].rstrip(")") for w in words if w.startswith("--")]
    lost = [f for f in flags if f not in options(command) | {"--help"}]
    return f"mien {verb} has no {lost}" if lost else None


@pytest.mark.parametrize("page", PAGES)
def test_every_verb_and_flag_exists(page):
    """`mien VERB --flag` in code is one that the program knows."""
    plain = [re.sub(r"\$\([^)]*\)| \|.*", "", line) for line in code_of(page)]
    lines = [found for line in plain for found in MIEN.findall(line)]
    assert [why for words in lines if (why := wrong(words.split()))] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_place_of_the_repository_exists(page):
    """Files and folders below the root, and what links lead to."""
    named = {p.rstrip(".,") for line in code_of(page) for p in PLACE.findall(line)}
    assert sorted(p for p in named if not (ROOT / p).exists() and p not in OF_THE_READER) == []
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[\w-]*)?\)", page.read_text(encoding="utf-8"))
    assert sorted(p for p in links if not (page.parent / p).exists()) == []


@pytest.mark.parametrize("page", PAGES)
def test_every_variable_is_read(page):
    """MIEN_ variables are those of the settings, or of a script or manifest."""
    text = page.read_text(encoding="utf-8")
    named = {n for n in re.findall(r"MIEN_[A-Z0-9_]+", text) if not n.endswith("_")}
    assert sorted(named - read_by_code()) == []


@pytest.mark.parametrize("page", PAGES)
def test_every_target_is_in_the_makefile(page):
    """`make TARGET`."""
    known = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.M))
    asked = [
        m for line in code_of(page) for m in re.findall(r"(?:^|[\s;&])make ([a-z][\w-]*)", line)
    ]
    assert sorted(set(asked) - known) == []


@pytest.mark.parametrize("page", PAGES)
def test_every_module_that_is_run_exists(page):
    """`python -m benchmarks.x`, `python -m services.x`."""
    asked = {m for line in code_of(page) for m in re.findall(r"python -m ([\w.]+)", line)}
    ours = [m.replace(".", "/") for m in asked if m.split(".")[0] in ("benchmarks", "services")]
    lost = [
        m for m in ours if not any((ROOT / f"{m}{end}").exists() for end in (".py", "/__main__.py"))
    ]
    assert lost == []


CLUSTER = ROOT / "docs" / "howto" / "cluster.md"


def test_what_is_applied_can_be_rendered():
    """Folders after -k hold a kustomization."""
    asked = re.findall(r"(?:-k|kustomize) (k8s/[\w/-]+)", CLUSTER.read_text(encoding="utf-8"))
    assert asked
    assert [a for a in asked if not (ROOT / a / "kustomization.yaml").exists()] == []


def test_reasons_are_those_of_the_code():
    """Each reason in the table of refusals is raised somewhere."""
    table = CLUSTER.read_text(encoding="utf-8").partition("## When it refuses")[2]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("|")]
    reasons = {r for cell in cells for r in re.findall(r"`([A-Z][A-Z_]+)`", cell)}
    source = "".join(p.read_text() for p in (ROOT / "src" / "mien").rglob("*.py"))
    assert len(reasons) >= 10
    assert sorted(r for r in reasons if f'"{r}"' not in source) == []


def test_the_profile_of_the_page_is_one(tmp_path):
    """The YAML of the page is a profile, and every other key it names is a profile's."""
    from mien.adapters.kubernetes.profile import KubernetesProfile, load_profile

    section = CLUSTER.read_text(encoding="utf-8").partition("## 5. The profile")[2]
    (tmp_path / "cluster.yaml").write_text(re.findall(r"```yaml\n(.*?)```", section, re.S)[0])
    profile = load_profile(tmp_path / "cluster.yaml")
    assert profile.shape("train-generator").gpus == 4
    rest = section.partition("Other keys:")[2].partition("\n\n")[0]
    named = {k for k in re.findall(r"`([a-z_]+)`", rest) if not k.isdigit()}
    assert named <= set(KubernetesProfile.model_fields)


def test_secrets_of_the_page_are_what_the_manifests_read():
    """The keys of the Secret `mien` are mounted files that somebody reads."""
    text = CLUSTER.read_text(encoding="utf-8")
    keys = set(re.findall(r"--from-(?:file|literal)=([\w]+)=", text))
    assert keys == {"aws", "postgres_password", "mlflow_backend_url", "mien_server_database_url"}
    manifests = "".join(p.read_text() for p in (ROOT / "k8s" / "base").glob("*.yaml"))
    by_name = {f"mien_server_{name}" for name in ServerSettings.model_fields}
    assert [k for k in keys if f"/{k}" not in manifests and k not in by_name] == []


def test_mlflow_and_the_services_have_a_database_each():
    """Both have a table called jobs."""
    from mien.adapters.jobs.tables import JOBS

    text = CLUSTER.read_text(encoding="utf-8")
    bases = re.findall(r"(mlflow_backend_url|mien_server_database_url)=\S+/(\w+)", text)
    assert JOBS.name == "jobs"
    assert dict(bases) == {"mlflow_backend_url": "mlflow", "mien_server_database_url": "mien"}
    assert "CREATE DATABASE mlflow" in (ROOT / "k8s" / "base" / "postgres.yaml").read_text()


def test_the_overlay_of_the_page_renders(tmp_path):
    """The page's own overlay, with its address of a store: in each ConfigMap that needs it."""
    from k8s.check.rendering import CannotRender, documents, find_renderer

    try:
        render = find_renderer()
    except CannotRender as why:
        pytest.skip(f"SKIPPED render: {why}")
    blocks = re.findall(r"```yaml\n(.*?)```", CLUSTER.read_text(encoding="utf-8"), re.S)
    parts = [b for b in blocks if "kustomize.config" in b or "configMapGenerator" in b]
    assert len(parts) == 2
    shutil.copytree(ROOT / "k8s", tmp_path / "k8s", ignore=shutil.ignore_patterns("check"))
    overlay = tmp_path / "k8s" / "overlays" / "mine"
    overlay.mkdir()
    (overlay / "kustomization.yaml").write_text("".join(sorted(parts, key=len)[::-1]))
    told = [
        d["metadata"]["name"]
        for d in documents(render(overlay))
        if d["kind"] == "ConfigMap" and "AWS_ENDPOINT_URL" in d["data"]
    ]
    assert [len([n for n in told if n.startswith(m)]) for m in ("mien-store", "mien-worker")] == [
        1,
        1,
    ]
    assert len(told) == 3


def test_files_that_messages_name_exist():
    """Hints send people to pages and manifests that are there."""
    source = "".join(p.read_text() for p in (ROOT / "src" / "mien").rglob("*.py"))
    named = set(re.findall(r"(?<![\w/])(?:docs|k8s)/[\w/.-]+\.(?:md|yaml)", source))
    assert len(named) > 5
    assert sorted(n for n in named if not (ROOT / n).exists()) == []


def test_the_role_is_where_the_hint_says():
    """`CLUSTER_FORBIDDEN` names the file that grants it."""
    hint = error_of(403, "no").hint
    (file,) = re.findall(r"k8s/\S+\.yaml", hint)
    assert "kind: Role\n" in (ROOT / file).read_text()
