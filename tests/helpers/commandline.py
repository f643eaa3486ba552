"""The command line, called in this process."""

import sys

from steersman.cli.main import main


def call(words: list[str]) -> int:
    """Its exit code."""
    before, sys.argv = sys.argv, ["steersman", *words]
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    finally:
        sys.argv = before
    return 0
