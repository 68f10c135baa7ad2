"""Lists and unmounts mounts below a test's directory, which container engines may leave behind."""

import re
from pathlib import Path

from engines import program, run
from registry import wait_for


def mounts_below(directory: Path) -> list[str]:
    """In the order of their creation."""
    points = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        # Blanks and similar characters are written as \040.
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), line.split()[4])
        if directory.resolve() in Path(point).parents:
            points.append(point)
    return points


def unmount_below(directory: Path):
    for point in reversed(mounts_below(directory)):
        # An engine that has just ended may still be unmounting: the mount is busy for a moment, or already gone.
        gone = lambda: run(program("umount", "mount"), point).returncode == 0 or point not in mounts_below(directory)
        wait_for(gone, f"nobody to use {point}")
