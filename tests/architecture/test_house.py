"""The laws of the house that no linter knows."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
GENERATED = ROOT / "src" / "mien" / "api"
SOURCES = [
    path
    for folder in ("src/mien", "services")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if GENERATED not in path.parents
]
TRACKED = subprocess.run(
    ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
).stdout.splitlines()


def imports(path: Path) -> set[str]:
    """Top-level names of everything a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return found


def test_no_name_says_nothing():
    """No folder or file is called manager, helper, utils, common, base or misc."""
    bad = re.compile(r"(^|/)(utils?|helpers?|common|misc|managers?|base)(\.py|/)")
    assert [f for f in TRACKED if bad.search(f) and not f.startswith("k8s/")] == []


def test_no_file_is_longer_than_400_lines():
    """A file that long has two subjects."""
    assert [str(p) for p in SOURCES if len(p.read_text().splitlines()) > 400] == []


@pytest.mark.parametrize("name", ["pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"])
def test_no_pickle_is_ever_loaded(name):
    """Nothing of ours imports a module that executes what it reads."""
    users = [str(p) for p in SOURCES if any(i.split(".")[0] == name for i in imports(p))]
    assert users == []


def test_arrays_are_read_without_pickle():
    """Every np.load says allow_pickle=False; torch.load is not called."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            owner = node.func.value
            if not isinstance(owner, ast.Name) or node.func.attr != "load":
                continue
            if owner.id == "torch":
                pytest.fail(f"{path}:{node.lineno} calls torch.load")
            if owner.id == "np":
                given = {k.arg: ast.unparse(k.value) for k in node.keywords}
                assert given.get("allow_pickle") == "False", f"{path}:{node.lineno}"


def test_the_mlflow_folder_holds_no_python():
    """A Python file in mlflow/ at the top would shadow the library."""
    assert list((ROOT / "mlflow").rglob("*.py")) == []
    assert not (ROOT / "triton").exists()


def test_one_name_in_five_places():
    """DVC stage = section of params.yaml = verb = file in stages/ = folder in data/."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    from mien.stages.pipeline import ORDER

    assert tuple(stages) == ORDER
    for name, stage in stages.items():
        body = stage.get("do", stage)
        assert name in params
        assert body["cmd"].startswith(f"mien {name.replace('_', '-')}")
        assert (ROOT / "src" / "mien" / "stages" / f"{name}.py").exists()
        folder = "report" if name == "report" else f"data/{name}"
        assert any(
            str(o if isinstance(o, str) else next(iter(o))).startswith(folder) for o in body["outs"]
        )


def test_room_fronts_are_empty():
    """Importing a room imports nothing heavy: its __init__ is a docstring."""
    for path in (ROOT / "src" / "mien").glob("*/__init__.py"):
        if path.parent.name == "api":
            continue
        tree = ast.parse(path.read_text())
        assert len(tree.body) <= 1, path
        assert ast.get_docstring(tree), path


def test_help_imports_nothing_heavy():
    """`mien --help` answers at once: no torch, MLflow, OpenCV or pandas on the way."""
    code = (
        "import sys; import mien.cli.app, mien.cli.main; "
        "print(' '.join(m for m in ('torch','mlflow','cv2','pandas','numba','sklearn','matplotlib')"
        " if m in sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


def test_nothing_names_a_machine():
    """No absolute home or work folder and no registry host in any tracked text file."""
    hosts = re.compile(
        r"pypi\.org|files\.pythonhosted|registry\.npmjs|deb\.debian\.org|/root/|/home/\w"
    )
    for name in TRACKED:
        path = ROOT / name
        if (
            path.suffix in (".py", ".md", ".yaml", ".yml", ".toml", ".txt", ".html")
            and path.exists()
        ):
            found = hosts.search(path.read_text(encoding="utf-8", errors="ignore"))
            assert found is None or name.endswith("test_house.py"), f"{name}: {found.group()}"
