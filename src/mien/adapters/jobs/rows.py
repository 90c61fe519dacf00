"""What the job book asks of its tables, inside a transaction of its."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, or_, select, update

from mien.adapters.jobs.owners import is_dead
from mien.adapters.jobs.tables import CHILDREN, JOBS, job_of
from mien.core.errors import Interrupted, NotFound
from mien.core.jobs import Job


def free(db: Connection, kinds: Collection[str], asking: str, now: float) -> Any:
    """Select the oldest job that nobody is at."""
    left = or_(JOBS.c.lease_until < now, JOBS.c.owner.in_(dead_owners(db, asking)))
    begun = and_(JOBS.c.state.in_(("RUNNING", "CANCELLING")), left)
    wanted = select(JOBS).where(JOBS.c.kind.in_(sorted(kinds)))
    return wanted.where(or_(JOBS.c.state == "QUEUED", begun)).order_by(JOBS.c.sequence).limit(1)


def dead_owners(db: Connection, asking: str) -> list[str]:
    """Name the holders that are dead processes of this machine: no need to wait for them."""
    held = JOBS.c.state.in_(("RUNNING", "CANCELLING"))
    owners = db.execute(select(JOBS.c.owner).where(held).distinct()).scalars()
    return [o for o in owners if o != asking and is_dead(o)]


def of(name: str) -> Any:
    """Select a job by its name."""
    return select(JOBS).where(JOBS.c.name == name)


def read(db: Connection, name: str) -> Job:
    """Read a job with its children; ``NotFound`` ``UNKNOWN_JOB``."""
    row = db.execute(of(name)).mappings().first()
    if row is None:
        raise unknown(name)
    return job_of(row, children_of(db, [name]).get(name, ()))


def write(db: Connection, name: str, values: Mapping[str, Any]) -> None:
    """Change columns of a job; its revision rises."""
    raised = {**values, "revision": JOBS.c.revision + 1}
    db.execute(update(JOBS).where(JOBS.c.name == name).values(raised))


def children_of(db: Connection, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Find the children of some jobs, in the order they were started."""
    wanted = select(CHILDREN.c.parent, CHILDREN.c.child).where(CHILDREN.c.parent.in_(names))
    found: dict[str, tuple[str, ...]] = {}
    for parent, child in db.execute(wanted.order_by(CHILDREN.c.sequence)):
        found[parent] = (*found.get(parent, ()), child)
    return found


def link(db: Connection, parent: str, child: str) -> None:
    """Note a child under its parent, once."""
    both = and_(CHILDREN.c.parent == parent, CHILDREN.c.child == child)
    if db.execute(select(CHILDREN.c.sequence).where(both)).first() is None:
        db.execute(CHILDREN.insert().values(parent=parent, child=child))
        write(db, parent, {})


def starts_more(db: Connection, parent: str) -> None:
    """Refuse children of what has ended; parents are locked before children, by cancels too."""
    row = db.execute(of(parent).with_for_update()).mappings().first()
    if row is None:
        raise unknown(parent)
    if row["state"] not in ("QUEUED", "RUNNING"):
        raise Interrupted(f"{parent} has ended or shall end: it starts nothing more")


def wanted_by_others(db: Connection, child: str, parent: str) -> bool:
    """Whether another job that goes on waits for this child."""
    others = (
        select(JOBS.c.name)
        .join(CHILDREN, CHILDREN.c.parent == JOBS.c.name)
        .where(CHILDREN.c.child == child, JOBS.c.name != parent)
        .where(JOBS.c.state.in_(("QUEUED", "RUNNING")))
    )
    return db.execute(others).first() is not None


def unknown(name: str) -> NotFound:
    """Say that there is no such job."""
    return NotFound("UNKNOWN_JOB", f"there is no job {name!r}", hint="list the jobs")
