"""Answers made by hand, and what a detector is shown of them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
