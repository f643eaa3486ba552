"""The tests of the training core share `line`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
