"""Who holds a lease: a name by which a machine can tell whether the holder still lives."""

from __future__ import annotations

import os
import socket
import uuid


def new_owner() -> str:
    """Name a holder of leases so that its machine can tell whether it still lives."""
    return "|".join((socket.gethostname(), str(os.getpid()), _born(os.getpid()), uuid.uuid4().hex))


def is_dead(owner: str) -> bool:
    """Whether a holder is a process of this machine that has ended."""
    host, _, rest = owner.partition("|")
    pid, _, rest = rest.partition("|")
    born = rest.partition("|")[0]
    return host == socket.gethostname() and pid.isdigit() and _born(int(pid)) != born


def _born(pid: int) -> str:
    """Tell when a process began, "" for none or a dead one: numbers of processes come again."""
    import psutil

    try:
        process = psutil.Process(pid)
        gone = process.status() == psutil.STATUS_ZOMBIE
        return "" if gone else f"{process.create_time():.2f}"
    except psutil.NoSuchProcess:
        return ""
