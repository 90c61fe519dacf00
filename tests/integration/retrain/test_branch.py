"""The branch of retrainings: one commit beside the working copy, and only if nobody moved it."""

from __future__ import annotations

import pytest

from mien.adapters.retrain.branch import RetrainBranch
from mien.core.errors import Invalid, NotFound, Unavailable, WrongState
from tests.integration.retrain.runner import git


@pytest.fixture
def clone(tmp_path):
    """A clone of a bare remote with one commit; the project is a folder in it."""
    git(tmp_path, "init", "-q", "--bare", "-b", "main", "origin.git")
    git(tmp_path, "clone", "-q", "origin.git", "clone")
    clone = tmp_path / "clone"
    git(clone, "checkout", "-q", "-b", "main")
    (clone / "project" / "data").mkdir(parents=True)
    (clone / "project" / "params.yaml").write_text("a: 1\n")
    (clone / ".gitignore").write_text("data/\n")
    git(clone, "add", "-A")
    git(clone, "commit", "-q", "-m", "first")
    git(clone, "push", "-q", "origin", "main")
    return clone


def files(clone, text):
    """A changed file, and one that git ignores."""
    project = clone / "project"
    (project / "params.yaml").write_text(text)
    (project / "data" / "figures.json").write_text(text)
    names = ("params.yaml", "data/figures.json")
    return {name: project / name for name in names}


def test_a_commit_is_made_beside_the_working_copy(clone):
    """Branch, index and files of whoever retrains stay; ignored files are committed too."""
    branch = RetrainBranch(clone / "project")
    assert (branch.branch, branch.onto, branch.tip()) == ("main", "retrain/main", "")
    made = branch.publish(files(clone, "a: 2\n"), "Retrain", key="k1", tip="")
    assert (branch.tip(), branch.key_of(made.commit)) == (made.commit, "k1")
    assert branch.read(made.commit, "data/figures.json") == b"a: 2\n"
    assert branch.below(made.commit, "data") == ["data/figures.json"]
    assert branch.read(made.commit, "nothing") is None
    assert git(clone, "status", "--porcelain") == "M project/params.yaml"
    assert branch.uncommitted() == ((), "")
    (clone / ".gitignore").write_text("data/\nmore/\n")
    names, digest = branch.uncommitted()
    assert names == (".gitignore",)
    (clone / ".gitignore").write_text("data/\nless/\n")
    assert branch.uncommitted()[1] not in ("", digest)
    git(clone, "checkout", "-q", ".gitignore")
    assert git(clone, "rev-parse", f"{made.commit}^") == git(clone, "rev-parse", "main")
    again = branch.publish(files(clone, "a: 2\n"), "Retrain", key="k2", tip=made.commit)
    assert (again.commit, again.new) == (made.commit, False)


def test_nothing_is_lost_and_nothing_overtaken(clone):
    """What the branch had is a parent; a branch that moved in between is left alone."""
    branch = RetrainBranch(clone / "project")
    first = branch.publish(files(clone, "a: 2\n"), "one", key="k1", tip="")
    second = branch.publish(files(clone, "a: 3\n"), "two", key="k2", tip=first.commit)
    assert git(clone, "rev-parse", f"{second.commit}^2") == first.commit
    for stale in ("", first.commit):
        with pytest.raises(Unavailable, match="BRANCH_MOVED"):
            branch.publish(files(clone, "a: 4\n"), "late", key="k3", tip=stale)
    assert branch.tip() == second.commit


def test_a_fresh_clone_sees_the_branch(clone, tmp_path):
    """Its commit is fetched, without a local branch being made."""
    made = RetrainBranch(clone / "project").publish(files(clone, "a: 2\n"), "one", key="k1", tip="")
    git(tmp_path, "clone", "-q", "--single-branch", "-b", "main", "origin.git", "other")
    branch = RetrainBranch(tmp_path / "other" / "project")
    assert branch.key_of(branch.tip()) == "k1"
    assert branch.read(made.commit, "params.yaml") == b"a: 2\n"


def test_what_is_missing_is_said(clone, tmp_path):
    """No git, no branch, no remote, a remote that is away, the branch itself as its own result."""
    (tmp_path / "plain").mkdir()
    with pytest.raises(WrongState, match="NO_GIT"):
        RetrainBranch(tmp_path / "plain")
    with pytest.raises(Invalid, match="SAME_BRANCH"):
        RetrainBranch(clone / "project", onto="main")
    with pytest.raises(NotFound, match="NO_GIT_REMOTE"):
        RetrainBranch(clone / "project", remote="upstream").tip()
    (tmp_path / "origin.git").rename(tmp_path / "gone")
    with pytest.raises(Unavailable, match="GIT_REMOTE"):
        RetrainBranch(clone / "project").tip()
    git(clone, "checkout", "-q", "--detach")
    with pytest.raises(Invalid, match="NO_BRANCH"):
        RetrainBranch(clone / "project")
    assert RetrainBranch(clone / "project", branch="main").onto == "retrain/main"
