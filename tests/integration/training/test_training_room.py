"""What the training service takes while it does nothing."""

import json
import os
import subprocess
import sys


def test_a_service_without_work_is_small():
    """No numeric library is loaded in it, ever: its workers do the work; under 120 MB."""
    script = """
import json, sys
from services.chassis.testing import running
from services.training.mount import mount
with running("training", mount) as target:
    import psutil
    heavy = ("pyarrow", "numpy", "torch", "pandas", "mlflow", "sklearn", "s3fs", "fsspec")
    loaded = [name for name in heavy if name in sys.modules]
    mib = psutil.Process().memory_info().rss / 2**20
    print(json.dumps({"loaded": loaded, "modules": len(sys.modules), "mib": mib}))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": "src:."},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["loaded"] == []
    assert found["modules"] < 1500
    assert found["mib"] < 120
