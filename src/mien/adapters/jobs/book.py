"""Jobs on disk: what was asked, who is at it, how it went. Shared by threads and processes.

Whoever runs a job holds a lease on it and renews it. A lease that ran out, or whose holder is a
process of this machine that has died, is free to take: a job is never run twice at a time, and
never forgotten.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, func, select, update
from sqlalchemy.exc import IntegrityError

from mien.adapters.jobs.rows import (
    children_of,
    free,
    link,
    of,
    read,
    starts_more,
    unknown,
    wanted_by_others,
    write,
)
from mien.adapters.jobs.tables import (
    CHILDREN,
    JOBS,
    REQUESTS,
    columns_of,
    job_of,
    open_tables,
    text_of,
)
from mien.core import pages
from mien.core.errors import AlreadyExists, Conflict
from mien.core.hooks import Cancelled, never_cancelled
from mien.core.jobs import ENDED, Job, JobPage, JobState

LEASE_S = 15.0
POLL_S = 0.25
UNSUCCESSFUL: frozenset[JobState] = frozenset({"FAILED", "CANCELLED"})
_ANEW: Mapping[str, Any] = {
    "state": "QUEUED",
    "done": 0.0,
    "message": "",
    "metrics": "{}",
    "failure": "",
    "result": "{}",
    "ended": None,
    "owner": "",
}


class JobBook:
    """The jobs of one service, in a database.

    Args:
        url: SQLAlchemy address, ``sqlite:////folder/jobs.db`` or a PostgreSQL one.
        lease_s: seconds after which a holder that has not been heard of is taken for dead.
    """

    def __init__(self, url: str, *, lease_s: float = LEASE_S) -> None:
        self._engine = open_tables(url)
        self._reading = self._engine.execution_options(reads=True)
        self._changed = threading.Condition()
        self._changes = 0
        self.lease_s = lease_s

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    # asking

    def create(
        self,
        kind: str,
        spec: Mapping[str, Any],
        *,
        name: str,
        request_id: str = "",
        parent: str = "",
        again: Collection[JobState] = UNSUCCESSFUL,
    ) -> tuple[Job, bool]:
        """Enter a job, or find it.

        Args:
            kind: what sort of work.
            spec: what is asked, plain JSON values.
            name: unique; the same work has the same name.
            request_id: of the caller; a request known already changes nothing.
            parent: job that starts it.
            again: a job that ended in one of these states is queued again by a new request.

        Returns:
            The job, and whether this call queued it.

        Raises:
            AlreadyExists: ``REQUEST_ID_REUSED`` for another job or spec; ``JOB_NAME_TAKEN``
                when the name stands for other work.
            Interrupted: when the parent has ended or was asked to stop.
        """
        text = text_of(spec)
        asked = (kind, text, name, request_id, parent, again)
        try:
            job, queued = self._create(*asked)
        except IntegrityError:  # another process entered it between our look and our entry
            job, queued = self._create(*asked)
        if queued:
            self.tell()
        return job, queued

    def _create(
        self,
        kind: str,
        text: str,
        name: str,
        request_id: str,
        parent: str,
        again: Collection[JobState],
    ) -> tuple[Job, bool]:
        with self._engine.begin() as db:
            if parent:
                starts_more(db, parent)
            known = self._request(db, request_id, name, text)
            row = db.execute(of(name).with_for_update()).mappings().first()
            if row is None:
                db.execute(
                    JOBS.insert().values(
                        name=name,
                        kind=kind,
                        spec=text,
                        parent=parent,
                        request_id=request_id,
                        state="QUEUED",
                        created=time.time(),
                    )
                )
            elif (row["kind"], row["spec"]) != (kind, text):
                raise AlreadyExists(
                    "JOB_NAME_TAKEN", f"{name} is other work already", hint="use another key"
                )
            elif not known and row["state"] in again:
                write(db, name, _ANEW)
            queued = row is None or (not known and row["state"] in again)
            if parent:
                link(db, parent, name)
            return read(db, name), queued

    def _request(self, db: Connection, request_id: str, name: str, text: str) -> bool:
        if not request_id:
            return False
        found = db.execute(select(REQUESTS).where(REQUESTS.c.request_id == request_id)).first()
        if found is None:
            values = {"request_id": request_id, "name": name, "spec": text}
            db.execute(REQUESTS.insert().values(values))
        elif (found.name, found.spec) != (name, text):
            raise AlreadyExists(
                "REQUEST_ID_REUSED",
                f"request {request_id!r} asked for {found.name} before, with another content",
                hint="use a new request_id for new work",
            )
        return found is not None

    # reading

    def get(self, name: str) -> Job:
        """Read a job; ``NotFound`` ``UNKNOWN_JOB``."""
        with self._reading.begin() as db:
            return read(db, name)

    def jobs(
        self,
        *,
        parent: str = "",
        kinds: Collection[str] = (),
        page_size: int = 0,
        page_token: str = "",
    ) -> JobPage:
        """List jobs, newest first.

        Args:
            parent: only its children; "" = all.
            kinds: only of these; empty = all.
            page_size: at most so many, 1 to 1000; 0 = 100.
            page_token: from the page before.

        Raises:
            Invalid: ``PAGE_SIZE``, ``PAGE_TOKEN``.
        """
        size, listed = pages.page_size(page_size), f"jobs {parent} {sorted(kinds)}"
        before = pages.read_token(listed, page_token, None)
        wanted = select(JOBS).order_by(JOBS.c.sequence.desc()).limit(size + 1)
        if before is not None:
            wanted = wanted.where(JOBS.c.sequence < before)
        if kinds:
            wanted = wanted.where(JOBS.c.kind.in_(sorted(kinds)))
        if parent:
            mine = select(CHILDREN.c.child).where(CHILDREN.c.parent == parent)
            wanted = wanted.where(JOBS.c.name.in_(mine))
        with self._reading.begin() as db:
            rows = db.execute(wanted).mappings().all()
            children = children_of(db, [row["name"] for row in rows])
        more = len(rows) > size
        found = tuple(job_of(r, children.get(r["name"], ())) for r in rows[:size])
        return JobPage(found, pages.write_token(listed, rows[size - 1]["sequence"]) if more else "")

    def count(
        self, kinds: Collection[str] = (), *, parent: str = "", asked: bool = False
    ) -> dict[JobState, int]:
        """Count jobs by state; states without a job are left out.

        Args:
            kinds: only of these; empty = all.
            parent: only its children; "" = all.
            asked: only those that no other job started.
        """
        wanted = select(JOBS.c.state, func.count()).group_by(JOBS.c.state)
        if kinds:
            wanted = wanted.where(JOBS.c.kind.in_(sorted(kinds)))
        if asked:
            wanted = wanted.where(JOBS.c.parent == "")
        if parent:
            mine = CHILDREN.c.parent == parent
            wanted = wanted.join(CHILDREN, CHILDREN.c.child == JOBS.c.name).where(mine)
        with self._reading.begin() as db:
            return {row[0]: row[1] for row in db.execute(wanted)}

    def watch(
        self, name: str, after_revision: int = 0, stop: Cancelled = never_cancelled
    ) -> Iterator[Job]:
        """Yield a job now and whenever it has changed, until it has ended.

        Revisions grow. A slow reader misses some, never the last. Changes made through this
        object are seen at once, those of other processes within ``POLL_S``.

        Args:
            name: of the job; ``NotFound`` ``UNKNOWN_JOB``.
            after_revision: yield only what is newer.
            stop: asked at least every ``POLL_S``; True ends the watch.
        """
        self.get(name)
        return self._watch(name, after_revision, stop)

    def _watch(self, name: str, seen: int, stop: Cancelled) -> Iterator[Job]:
        while not stop():
            changes = self._changes
            job = self.get(name)
            if job.revision > seen:
                seen = job.revision
                yield job
            if job.over:
                return
            self.wait(changes, POLL_S)

    def wait(self, changes: int, timeout_s: float) -> int:
        """Wait until more changes than ``changes`` were made here; returns their number."""
        with self._changed:
            self._changed.wait_for(lambda: self._changes != changes, timeout_s)
            return self._changes

    @property
    def changes(self) -> int:
        """How many changes were made through this object; for ``wait``."""
        return self._changes

    # changing

    def change(self, name: str, *, owner: str = "", **fields: Any) -> Job:
        """Change fields of a job; its revision rises by one.

        Args:
            name: of the job; ``NotFound`` ``UNKNOWN_JOB``.
            owner: only while it holds the lease; ``Conflict`` ``LEASE_LOST`` otherwise.
            **fields: of ``Job``. An ended state sets ``ended`` and frees the lease; a job that
                has ended does not change any more, and is returned as it is.
        """
        with self._engine.begin() as db:
            row = db.execute(of(name).with_for_update()).mappings().first()
            if row is None:
                raise unknown(name)
            if owner and row["owner"] != owner:
                raise Conflict(
                    "LEASE_LOST",
                    f"{name} was taken over by {row['owner'] or 'nobody yet'}",
                    hint="leave it to them",
                )
            if row["state"] in ENDED:
                return read(db, name)
            values = columns_of(fields)
            if values.get("state") in ENDED:
                values |= {"ended": time.time(), "owner": "", "lease_until": 0.0}
            write(db, name, values)
            job = read(db, name)
        self.tell()
        return job

    def cancel(self, name: str) -> Job:
        """Ask a job and its children to stop; one that nobody is at is CANCELLED at once.

        A child that another unfinished job waits for goes on. ``NotFound`` ``UNKNOWN_JOB``.
        """
        with self._engine.begin() as db:
            read(db, name)
            self._cancel(db, name)
            job = read(db, name)
        self.tell()
        return job

    def _cancel(self, db: Connection, name: str) -> None:
        row = db.execute(of(name).with_for_update()).mappings().one()
        if row["state"] == "QUEUED":
            write(db, name, {"state": "CANCELLED", "ended": time.time()})
        elif row["state"] == "RUNNING":
            write(db, name, {"state": "CANCELLING"})
        for child in children_of(db, [name]).get(name, ()):
            if not wanted_by_others(db, child, name):
                self._cancel(db, child)

    # running

    def claim(self, kinds: Collection[str], owner: str) -> Job | None:
        """Take the oldest job that nobody is at; it is then RUNNING (or stays CANCELLING)."""
        if not self.waits(kinds, owner):  # most often: no writer need be held up for that
            return None
        now = time.time()
        with self._engine.begin() as db:
            wanted = free(db, kinds, owner, now).with_for_update(skip_locked=True)
            row = db.execute(wanted).mappings().first()
            if row is None:
                return None
            values: dict[str, Any] = {"owner": owner, "lease_until": now + self.lease_s}
            if row["state"] != "CANCELLING":
                values |= {"state": "RUNNING", "tries": row["tries"] + 1}
                values |= {"started": row["started"] or now}
            write(db, row["name"], values)
            job = read(db, row["name"])
        self.tell()
        return job

    def waits(self, kinds: Collection[str], owner: str) -> bool:
        """Tell whether there is a job that nobody is at."""
        with self._reading.begin() as db:
            return db.execute(free(db, kinds, owner, time.time())).first() is not None

    def renew(self, owner: str) -> None:
        """Renew all leases of a holder."""
        until = time.time() + self.lease_s
        with self._engine.begin() as db:
            db.execute(update(JOBS).where(JOBS.c.owner == owner).values(lease_until=until))

    def held(self, owner: str) -> dict[str, JobState]:
        """Return the jobs that a holder has a lease on, with their states."""
        wanted = select(JOBS.c.name, JOBS.c.state).where(JOBS.c.owner == owner)
        with self._reading.begin() as db:
            return {row.name: row.state for row in db.execute(wanted)}

    def release(self, name: str, *, owner: str) -> Job:
        """Give a job back that is to go on later: QUEUED, or CANCELLED when that was asked."""
        with self._engine.begin() as db:
            row = db.execute(of(name).with_for_update()).mappings().first()
            if row is None:
                raise unknown(name)
            if row["owner"] == owner:
                asked = row["state"] == "CANCELLING"
                ended = {"state": "CANCELLED", "ended": time.time()}
                values = ended if asked else {"state": "QUEUED"}
                write(db, name, {**values, "owner": "", "lease_until": 0.0})
            job = read(db, name)
        self.tell()
        return job

    def tell(self) -> None:
        """Wake everybody who waits for changes."""
        with self._changed:
            self._changes += 1
            self._changed.notify_all()
