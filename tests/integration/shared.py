"""Slow artifacts that all tests share: made once in a test run by the first process that needs them.

pytest-xdist's workers are processes, and tests/run starts pytest more than once. NIXERY_TEST_SHARED names the directory of
the run; without one, the first process of the run makes it, and removes it at its end.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

VARIABLE = "NIXERY_TEST_SHARED"


def begin() -> Callable[[], None]:
    """Call it before any test, and the returned function at the end."""
    if VARIABLE in os.environ:
        return lambda: None
    directory = tempfile.mkdtemp(prefix="nixery-shared-")
    os.environ[VARIABLE] = directory  # inherited by the workers
    return lambda: shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def locked(name: str):
    with open(Path(os.environ[VARIABLE]) / f"{name}.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def made_once(name: str, make: Callable[[Path], object]) -> Path:
    """A directory made by `make`, in this process or another one. A failure is not retried."""
    directory = Path(os.environ[VARIABLE]) / name
    done, failed = directory.with_suffix(".done"), directory.with_suffix(".failed")
    with locked(name):
        assert not failed.exists(), f"{name} was not made: {failed.read_text()}"
        if not done.exists():
            directory.mkdir()
            try:
                make(directory)
            except BaseException as error:
                failed.write_text(f"{error!r}")
                raise
            done.touch()
    return directory
