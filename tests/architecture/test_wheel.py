"""What users install: the wheel, not the checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The built wheel."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q"]
    subprocess.run([*command, "-w", str(out), str(ROOT)], check=True, capture_output=True)
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_holds_the_package_and_its_templates(wheel):
    """Every module, the report's templates and the typing marker are in; tests are not."""
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {
        str(p.relative_to(ROOT / "src"))
        for p in (ROOT / "src/mien").rglob("*")
        if p.suffix in (".py", ".j2", ".css") or p.name == "py.typed"
    }
    assert sources <= names
    assert not [n for n in names if n.startswith(("tests/", "benchmarks/", "params"))]


def test_the_wheel_runs_without_the_checkout(wheel, tmp_path):
    """Unpacked elsewhere it answers, and its own data files are found."""
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import mien, mien.cli.main, mien.params;"
        "from mien.evaluation.page import TEMPLATES;"
        "assert mien.__file__.startswith(sys.argv[1]), mien.__file__;"
        "assert list(TEMPLATES.glob('*.j2')); print('ok')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "site")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "ok", done.stderr
