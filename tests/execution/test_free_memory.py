"""Free memory is what is available, within the limit of a container."""

import pytest

from steersman.execution.free_memory import free_memory
from steersman.inference import doctor

MEMINFO = "MemTotal: 8000000 kB\nMemFree: 100000 kB\nMemAvailable: 6000000 kB\n"


def machine(root, **files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_cache_of_files_counts_as_free(tmp_path):
    assert free_memory(machine(tmp_path, **{"proc/meminfo": MEMINFO})) == 6_000_000 * 1024


@pytest.mark.parametrize(
    ("folder", "limit", "used", "cache"),
    [
        ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
        ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ],
)
def test_a_container_has_what_its_limit_leaves(folder, limit, used, cache, tmp_path):
    files = {f"{folder}/{used}": "1500000000\n", f"{folder}/memory.stat": f"anon 9\n{cache} 500000000\n"}
    machine(tmp_path, **{"proc/meminfo": MEMINFO}, **files)
    machine(tmp_path, **{f"{folder}/{limit}": "3000000000\n"})
    assert free_memory(tmp_path) == 2_000_000_000
    machine(tmp_path, **{f"{folder}/{limit}": "max\n"})
    assert free_memory(tmp_path) == 6_000_000 * 1024


def test_a_system_that_does_not_say_is_no_error(tmp_path, monkeypatch):
    assert free_memory(tmp_path) is None
    monkeypatch.setattr(doctor, "free_memory", lambda: None)
    assert doctor._memory().verdict == "note"
    monkeypatch.setattr(doctor, "free_memory", lambda: 1.5 * 2**30)
    assert doctor._memory().verdict == "bad"
