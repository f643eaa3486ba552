"""How much memory this process may still take: what the machine has left, and what its container allows."""

from pathlib import Path

GROUPS = (
    # cgroup v2, then v1: the limit, what is used, and the line of memory.stat that counts the cache of files
    ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def free_memory(root: Path = Path("/")) -> float | None:
    """Bytes; None where the system does not say. The cache of files counts as free: it goes when memory is needed."""
    try:
        lines = _table(root / "proc/meminfo")
        free = float(lines["MemAvailable:"]) * 1024
    except (OSError, KeyError, ValueError):
        return None
    for folder, limit, used, cache in GROUPS:
        try:
            allowed = float((root / folder / limit).read_text())  # "max" is no number: no limit
            taken = float((root / folder / used).read_text()) - float(_table(root / folder / "memory.stat")[cache])
            free = min(free, max(allowed - taken, 0.0))
        except (OSError, KeyError, ValueError):
            continue
    return free


def _table(path: Path) -> dict[str, str]:
    """The first two words of each line."""
    words = (line.split() for line in path.read_text().splitlines())
    return {found[0]: found[1] for found in words if len(found) > 1}
