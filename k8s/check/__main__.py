"""Check the manifests: render, schemas, security, style, our own policies.

Exit codes: 0 nothing is wrong · 1 something is, or ``CHECK_STRICT`` is set and a tool is missing.
``CHECK_RELEASED=1`` also refuses images that no release has filled in.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from k8s.check.rendering import K8S, Broken, CannotRender, find_renderer, render_everything
from k8s.check.steps import (
    Missing,
    Wrong,
    check_names,
    check_policies,
    check_released,
    check_schemas,
    check_security,
    check_style,
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a run ended.

    Attributes:
        failed: steps that found something.
        skipped: steps whose tool is missing.
    """

    failed: tuple[str, ...]
    skipped: tuple[str, ...]

    def exit_code(self, *, strict: bool) -> int:
        """Return 1 for a failure, or for a skipped step where all must run."""
        return int(bool(self.failed or (strict and self.skipped)))


def check(manifests: Path, environ: Mapping[str, str]) -> Verdict:
    """Run every step on a folder of manifests; says on stdout what each found.

    Args:
        manifests: laid out as ``k8s/``.
        environ: ``CHECK_RELEASED`` is read.
    """
    failed: list[str] = []
    skipped: list[str] = []

    def step(name: str, run: Callable[[], str]) -> None:
        began = time.monotonic()
        try:
            said = run()
        except (Missing, CannotRender) as reason:
            skipped.append(name)
            print(f"SKIPPED {name}: {reason}", flush=True)
        except (Wrong, Broken) as wrong:
            failed.append(name)
            print(f"FAILED {name}\n{wrong}", flush=True)
        else:
            print(f"ok {name}: {said}, {time.monotonic() - began:.1f} s", flush=True)

    with tempfile.TemporaryDirectory(prefix="mien-k8s-") as scratch:
        rendered: dict[str, str] = {}

        def render() -> str:
            renderer = find_renderer()
            for name, text in render_everything(renderer, Path(scratch), manifests):
                check_names(name, text)
                rendered[name] = text
            return f"{len(rendered)} renderings with {renderer.name}"

        step("render", render)
        step("yamllint", lambda: check_style(manifests))
        if rendered and "render" not in failed:
            step("kubernetes-validate", lambda: check_schemas(rendered, Path(scratch)))
            step("checkov", lambda: check_security(rendered, Path(scratch)))
            step("policies", lambda: check_policies(environ))
            step(
                "release",
                lambda: check_released(rendered, must=bool(environ.get("CHECK_RELEASED"))),
            )
        else:
            for name in ("kubernetes-validate", "checkov", "policies", "release"):
                skipped.append(name)
                print(f"SKIPPED {name}: nothing was rendered")
    return Verdict(tuple(failed), tuple(skipped))


def main() -> int:
    """Check ``k8s/``; returns the exit code."""
    strict = bool(os.environ.get("CHECK_STRICT"))
    began = time.monotonic()
    verdict = check(K8S, os.environ)
    if strict and verdict.skipped:
        print(f"CHECK_STRICT is set: what was skipped fails: {', '.join(verdict.skipped)}")
    code = verdict.exit_code(strict=strict)
    print(f"k8s-check: {'FAILED' if code else 'ok'}, {time.monotonic() - began:.0f} s")
    return code


if __name__ == "__main__":
    sys.exit(main())
