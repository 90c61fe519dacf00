"""``python -m mien.cli.crew N VERB …``: one verb by N processes, as ``torchrun`` starts them.

``torchrun`` itself ends with 1 whatever its processes ended with; whoever started this must know
whether trying again makes sense, and whether there is a checkpoint.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from mien.core.errors import EXIT_DONE, EXIT_FAILED, EXIT_USER

_USAGE = "usage: python -m mien.cli.crew PROCESSES VERB [ARGUMENT ...]\n"
_KILLED = 128


def main(argv: Sequence[str]) -> int:
    """Run a verb by several processes of this machine; returns the exit code of the first to fail.

    Asked to stop, all of them are, and have half a minute for their checkpoint.

    Args:
        argv: how many processes, the verb and its arguments.
    """
    if len(argv) < 2 or not argv[0].isdecimal() or not int(argv[0]):
        sys.stderr.write(_USAGE)
        return EXIT_USER
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    count, *verb = argv
    options = ["--standalone", f"--nproc-per-node={count}", "-m", "mien", *verb]
    try:
        torchrun.run(torchrun.parse_args(options))  # type: ignore[no-untyped-call]
    except ChildFailedError as error:
        _, failed = error.get_first_failure()
        return _KILLED - failed.exitcode if failed.exitcode < 0 else failed.exitcode or EXIT_FAILED
    except SignalException as stopped:
        return _KILLED + int(stopped.sigval)
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
