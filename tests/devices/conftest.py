"""Lets the tests of this room import their neighbour ``fake_nvml`` under importlib mode."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
