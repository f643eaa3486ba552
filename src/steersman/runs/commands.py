"""Command lines that are shown to be copied: quoted for a shell, so that each runs as it stands."""

import shlex


def command_line(*words: object) -> str:
    """`steersman` with these words."""
    return shlex.join(["steersman", *(str(word) for word in words)])
