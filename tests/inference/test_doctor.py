"""`doctor` names what this package uses, and nothing else."""

import re
from pathlib import Path

from steersman.inference import doctor

SOURCE = "\n".join(path.read_text() for path in Path(doctor.__file__).parents[1].rglob("*.py") if path.stem != "doctor")


def test_each_optional_library_is_one_that_is_used():
    unused = [name for name in doctor.OPTIONAL if not re.search(rf"\b{name.split('-')[0]}\b", SOURCE)]
    assert unused == []
    assert "vllm" not in doctor.OPTIONAL
