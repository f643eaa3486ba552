"""The entry point of the command line, and what torchrun starts in each process: `torchrun … -m steersman ppo …`.

Stop signals are handled before anything heavy is imported.
"""

import sys

from steersman.runs.signals import stopping_while_loading


def main() -> None:
    with stopping_while_loading(sys.argv[1:]):
        from steersman.cli.main import main as command_line

        command_line()


if __name__ == "__main__":
    main()
