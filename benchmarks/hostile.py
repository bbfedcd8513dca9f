"""What each file of tests/sources/test_hostile.py costs, beside the limits: 1 second and 100 MiB. Run by hand.

    python benchmarks/hostile.py [rounds]

Every case is read in a process of its own; seconds are processor time, the least of all rounds, and MiB the most that
the process grew. Exits 1 where a case is over a limit.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / "sources"), str(ROOT / "src")]

from test_hostile import CASES, SPARSE, run, write_sparse  # noqa: E402

LIMIT_SECONDS = 1.0
LIMIT_MIB = 100


def measure(path: Path, rounds: int) -> tuple[float, int, str]:
    """(seconds, MiB, what was told) of reading ``path``."""
    found = [run(path) for _ in range(rounds)]
    return min(seconds for _, seconds, _ in found), max(mib for mib, _, _ in found), found[0][2]


def main(rounds: int) -> int:
    """Print one line a case, the costliest at the end."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, files) in enumerate(CASES.items()):
            path = Path(folder, str(number))
            path.mkdir()
            for file, data in files().items():
                (path / file).write_bytes(data)
            rows.append((*measure(path, rounds), name))
        for number, (file, head) in enumerate(SPARSE):
            path = Path(folder, f"sparse-{number}")
            path.mkdir()
            rows.append((*measure(write_sparse(path, file, head), rounds), f"{file} of a claimed terabyte, {number}"))
    print(f"{'seconds':>8} {'MiB':>5}  {'case':<44} answer")
    for seconds, mib, told, name in sorted(rows):
        over = "  OVER THE LIMIT" if seconds > LIMIT_SECONDS or mib > LIMIT_MIB else ""
        print(f"{seconds:8.3f} {mib:5d}  {name:<44} {told[:60]}{over}")
    print(f"{LIMIT_SECONDS:8.3f} {LIMIT_MIB:5d}  the limits")
    return int(any(seconds > LIMIT_SECONDS or mib > LIMIT_MIB for seconds, mib, _, _ in rows))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1))
