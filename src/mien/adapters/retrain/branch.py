"""The git branch that retrainings go to: read what it has, add one commit, touch nothing else.

The commit is made beside the working copy (an index of its own), so whoever retrains keeps the
branch and the files they work on. Its parents are what was retrained and what the branch had, so
nothing is ever lost by a push, and a push that finds the branch moved changes nothing.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mien.core.digest import digest_bytes
from mien.core.errors import Invalid, NotFound, Unavailable, WrongState

KEY = "Retrain-Key"
WHO = "mien retrain"
_MOVED = ("stale info", "rejected", "fetch first", "cannot lock ref", "reference already exists")


@dataclass(frozen=True, slots=True)
class Published:
    """What the branch points at.

    Attributes:
        commit: its hash.
        new: whether there was anything to commit.
    """

    commit: str
    new: bool


class RetrainBranch:
    """A branch on a remote of a git working copy.

    Args:
        project: folder in the working copy; paths below are relative to it.
        branch: that is retrained; "" = the one that is checked out.
        onto: that the result goes to; "" = ``retrain/<branch>``.
        remote: name of the git remote.
    """

    def __init__(
        self, project: Path, *, branch: str = "", onto: str = "", remote: str = "origin"
    ) -> None:
        self.project, self.remote = project, remote
        if self._git("rev-parse", "--is-inside-work-tree", fails=True) != "true":
            raise WrongState(
                "NO_GIT",
                f"{project} is no git working copy",
                hint="a retraining is committed to a branch: clone the project",
            )
        self.prefix = self._git("rev-parse", "--show-prefix")
        self.head = self._git("rev-parse", "HEAD")
        self.branch = branch or self._git("rev-parse", "--abbrev-ref", "HEAD")
        if self.branch == "HEAD":
            raise Invalid("NO_BRANCH", "no branch is checked out", hint="give --branch")
        self.onto = onto or f"retrain/{self.branch}"
        if self.onto == self.branch:
            raise Invalid(
                "SAME_BRANCH",
                f"{self.onto} is what is retrained: its result goes to another branch",
                hint="check out the branch that was retrained, or give --onto",
            )
        self._git("check-ref-format", "--branch", self.onto)

    def uncommitted(self) -> tuple[tuple[str, ...], str]:
        """Name the files that differ from the commit, and the digest of how; () and "" for none.

        Parameters and lock do not count: they are what a retraining changes.
        """
        place = ("HEAD", "--", ":/", ":(exclude)params.yaml", ":(exclude)dvc.lock")
        names = self._git("diff", "--name-only", "-z", *place).split("\0")
        changes = self._run("diff", "--binary", *place).stdout
        return tuple(n for n in names if n), digest_bytes(changes) if changes else ""

    def tip(self) -> str:
        """Return the commit that the branch points at on the remote, fetched; "" = none yet.

        Raises:
            Unavailable: ``GIT_REMOTE``. NotFound: ``NO_GIT_REMOTE``.
        """
        if self.remote not in self._git("remote").split():
            raise NotFound(
                "NO_GIT_REMOTE",
                f"the working copy has no remote {self.remote!r} to push the result to",
                hint="git remote add origin <address>",
            )
        ref = f"refs/heads/{self.onto}"
        said = self._talk("ls-remote", self.remote, ref)
        tip = next((line.split("\t")[0] for line in said.splitlines() if line.endswith(ref)), "")
        if tip and self._run("cat-file", "-e", f"{tip}^{{commit}}").returncode:
            self._talk("fetch", "--quiet", "--no-tags", self.remote, ref)
        return tip

    def key_of(self, commit: str) -> str:
        """Return which retraining made a commit; "" when none did."""
        body = self._git("log", "-1", "--format=%B", commit) or ""
        lines = [line for line in body.splitlines() if line.startswith(f"{KEY}: ")]
        return lines[-1].removeprefix(f"{KEY}: ").strip() if lines else ""

    def read(self, commit: str, path: str) -> bytes | None:
        """Return a file's bytes as of a commit; None when it is not there."""
        done = self._run("show", f"{commit}:{self.prefix}{path}")
        return done.stdout if done.returncode == 0 else None

    def below(self, commit: str, folder: str) -> list[str]:
        """List the files below a folder as of a commit."""
        names = self._git("ls-tree", "-r", "-z", "--name-only", commit, f"{folder}/", fails=True)
        return [name for name in (names or "").split("\0") if name]

    def publish(self, files: Mapping[str, Path], message: str, *, key: str, tip: str) -> Published:
        """Commit files on top of what was retrained and push, if the branch is still at ``tip``.

        Args:
            files: path in the project → file to take the bytes from.
            message: of the commit.
            key: of the retraining; a commit that has it is found again by ``key_of``.
            tip: where the branch was when the retraining began; "" = it did not exist.

        Raises:
            Unavailable: ``BRANCH_MOVED`` when somebody was faster, ``GIT_REMOTE``.
        """
        tree = self._tree(files)
        same = bool(tip) and self._git("rev-parse", f"{tip}^{{tree}}") == tree
        if same and self._is_in(self.head, tip):
            return Published(tip, new=False)
        parents = ["-p", self.head]
        if tip and not self._is_in(tip, self.head):
            parents += ["-p", tip]
        text = f"{message}\n\n{KEY}: {key}\n"
        commit = self._git("commit-tree", tree, *parents, "-m", text, env=self._author())
        self._push(commit, tip)
        return Published(commit, new=True)

    def _push(self, commit: str, tip: str) -> None:
        ref = f"refs/heads/{self.onto}"
        lease = f"--force-with-lease={ref}:{tip}"  # as compare-and-set: it is a fast-forward anyway
        done = self._run("push", "--quiet", "--porcelain", lease, self.remote, f"{commit}:{ref}")
        if done.returncode == 0 or self.tip() == commit:  # it may have arrived unheard
            return
        said = (done.stderr + done.stdout).decode(errors="replace").strip()[-500:]
        if any(word in said for word in _MOVED):
            raise Unavailable(
                "BRANCH_MOVED",
                f"{self.onto} was moved while this retraining ran: {said}",
                hint="another retraining was faster; run again: it starts from what that one made",
            )
        raise self._away(said)

    def _tree(self, files: Mapping[str, Path]) -> str:
        """Write the tree: what was retrained, with these files in it."""
        with tempfile.TemporaryDirectory() as folder:
            env = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
            self._git("read-tree", self.head, env=env)
            for path, file in sorted(files.items()):
                blob = self._git("hash-object", "-w", "--no-filters", "--", str(file.resolve()))
                entry = f"100644,{blob},{self.prefix}{path}"
                self._git("update-index", "--add", "--cacheinfo", entry, env=env)
            return self._git("write-tree", env=env)

    def _is_in(self, old: str, new: str) -> bool:
        """Whether a commit is another one, or before it."""
        return self._run("merge-base", "--is-ancestor", old, new).returncode == 0

    def _author(self) -> dict[str, str]:
        """Name somebody where the machine's git names nobody, as on a runner."""
        if self._git("config", "user.email", fails=True):
            return {}
        mail = "mien-retrain@localhost"
        roles = ("AUTHOR", "COMMITTER")
        return {f"GIT_{r}_NAME": WHO for r in roles} | {f"GIT_{r}_EMAIL": mail for r in roles}

    def _talk(self, *argv: str) -> str:
        done = self._run(*argv)
        if done.returncode:
            raise self._away(done.stderr.decode(errors="replace").strip()[-500:])
        return done.stdout.decode()

    def _away(self, said: str) -> Unavailable:
        return Unavailable(
            "GIT_REMOTE",
            f"the git remote {self.remote!r} cannot be used: {said}",
            hint="is it there, and may we push? run the same again: what was done is kept",
        )

    def _git(self, *argv: str, env: Mapping[str, str] | None = None, fails: bool = False) -> str:
        """Run git; returns what it says, stripped. With ``fails`` a failure is the answer ""."""
        done = self._run(*argv, env=env)
        if done.returncode == 0:
            return done.stdout.decode(errors="surrogateescape").strip("\n")
        if fails:
            return ""
        said = done.stderr.decode(errors="replace").strip()[-500:]
        raise WrongState(
            "GIT", f"git {argv[0]} failed: {said}", hint="mend the working copy and run again"
        )

    def _run(
        self, *argv: str, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        quiet = {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
        return subprocess.run(
            ["git", *argv],
            cwd=self.project,
            env={**os.environ, **quiet, **(env or {})},
            capture_output=True,
            check=False,
        )
