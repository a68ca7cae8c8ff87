"""Lets the tests here share the session bench."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
