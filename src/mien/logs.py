"""Logging for entry points; libraries only call ``logging.getLogger(__name__)``."""

from __future__ import annotations

import logging
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from mien.core.errors import Interrupted, MienError

LogFormat = Literal["auto", "pretty", "json"]
log = logging.getLogger(__name__)


class _Stderr:
    """Whatever ``sys.stderr`` is when a line is written: a progress bar may have replaced it."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()

    def isatty(self) -> bool:
        return sys.stderr.isatty()


def configure(level: str = "info", form: LogFormat = "auto") -> None:
    """Send all logging to stderr: pretty on a terminal, one JSON object a line elsewhere.

    Args:
        level: least level of our own loggers; other libraries only warn.
        form: ``auto``, ``pretty`` or ``json``.
    """
    import structlog

    stream = _Stderr()
    pretty = form == "pretty" or (form == "auto" and stream.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.contextvars.merge_contextvars,  # a server binds the id of the request
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if pretty else "iso", utc=not pretty),
    ]
    last: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(colors=stream.isatty(), pad_event_to=24)]
        if pretty
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("mien").setLevel(level.upper())
    logging.captureWarnings(capture=True)


@contextmanager
def canonical_line(stage: str, **fields: object) -> Iterator[None]:
    """Log one line when the stage has ended: outcome, seconds, processor seconds, peak memory."""
    started, used = time.perf_counter(), _cpu_s()
    outcome, reason = "failed", ""
    try:
        yield
        outcome = "done"
    except MienError as error:
        reason = error.reason
        raise
    except (Interrupted, KeyboardInterrupt, SystemExit):
        outcome = "interrupted"
        raise
    except BaseException as error:
        reason = type(error).__name__
        raise
    finally:
        line = {
            "stage": stage,
            "outcome": outcome,
            **({"reason": reason} if reason else {}),
            "wall_s": round(time.perf_counter() - started, 3),
            "cpu_s": round(_cpu_s() - used, 3),
            "peak_mb": _peak_mb(),
            **fields,
        }
        log.log(logging.INFO if outcome == "done" else logging.WARNING, "stage", extra=line)


def _cpu_s() -> float:
    """Processor seconds of this process and of its finished children."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def _peak_mb() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10))
