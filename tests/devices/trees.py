"""Plants a fixture of lines ``path = contents`` as real files below a folder."""

from __future__ import annotations

from pathlib import Path

from gpufit.devices.system_files import SystemFiles

FOLDER = Path(__file__).parent / "fixtures" / "trees"


def plant(name: str, root: Path) -> SystemFiles:
    for line in (FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        path, equals, text = line.partition(" =")
        if line.startswith("#") or not equals:
            continue
        place = root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text.strip().replace("\\n", "\n").replace("\\t", "\t").replace("\\0", "\0") + "\n")
    return SystemFiles(root=str(root))
