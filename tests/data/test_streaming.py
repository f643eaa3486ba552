"""Memory does not grow with the source, measured in processes of their own."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

MEASURE = """
import sys
from pathlib import Path
from steersman.data.load import ReadReport, load_records
from steersman.data.inspect import inspect
from steersman.data.split import split_records
report = ReadReport()
if sys.argv[2] == "load":
    count = sum(1 for _ in load_records(sys.argv[1], report=report))
elif sys.argv[2] == "inspect":
    count = inspect(load_records(sys.argv[1], report=report), report).comparisons
else:
    count = sum(split_records(load_records(sys.argv[1], report=report), Path(sys.argv[3])).records.values())
# Not getrusage: its peak is inherited from the process that forked this one, which would hide all growth.
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(count, int(peak.split()[1]) // 1024)
"""


def write(path, count, ending):
    with path.open("w", encoding="utf-8") as file:
        file.write("[\n" if ending == ".json" else "")
        for n in range(count):
            row = {"prompt": f"Question number {n}?", "chosen": f" A good answer, number {n}.", "rejected": f" No {n}."}
            comma = ",\n" if ending == ".json" and n < count - 1 else "\n"
            file.write(json.dumps(row) + comma)
        file.write("]" if ending == ".json" else "")


def measure(path, what, folder):
    found = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path), what, str(folder)], capture_output=True, text=True, check=True
    )
    count, megabytes = map(int, found.stdout.split())
    return count, megabytes


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process's memory is read from /proc")
@pytest.mark.parametrize(("ending", "what", "many"), [(".jsonl", "inspect", 300_000), (".json", "load", 100_000)])
def test_many_times_the_rows_need_less_than_200_megabytes_more(tmp_path, ending, what, many):
    peaks = []
    for count in (10_000, many):
        path = tmp_path / f"rows-{count}{ending}"
        write(path, count, ending)
        rows, peak = measure(path, what, tmp_path / "split")
        assert rows == count
        peaks.append(peak)
    assert peaks[0] > 10, "a Python process needs more than that: the measurement is broken"
    assert peaks[1] - peaks[0] < 200, peaks
