"""Lets the tests of this room import their neighbours, and the shrunken configurations of ``tests/facts``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "facts"))
