"""What can go wrong, in a handful of classes. Each carries the exit code that the command line ends with.

A message says what was seen, what was expected and what to do.
"""


class SteersmanError(Exception):
    """Anything that Steersman itself reports; the command line prints it without a traceback."""

    exit_code = 1


class UsageError(SteersmanError, ValueError):
    """A setting, an option or an argument that cannot be meant."""

    exit_code = 2


class DataError(SteersmanError, ValueError):
    """Data that cannot be read, or that says something impossible."""

    exit_code = 3


class ModelError(SteersmanError, ValueError):
    """A model, tokeniser or adapter that is missing, damaged or does not fit."""

    exit_code = 4


class CheckpointError(SteersmanError):
    """A checkpoint that is damaged, or that belongs to another run."""

    exit_code = 5


class RunLocked(SteersmanError):  # noqa: N818
    """Another process is working in this run folder."""

    exit_code = 6


class NotFinite(SteersmanError, ArithmeticError):  # noqa: N818
    """Loss or gradient stayed NaN or infinite for too many steps in a row."""

    exit_code = 7


class MissingLibrary(SteersmanError, ImportError):  # noqa: N818
    """An optional library that the settings ask for is not installed."""

    exit_code = 8


class ServiceError(SteersmanError):
    """A service that a run needs (a reward behind HTTP) stayed away, or refuses; what was learned and paid for is kept."""

    exit_code = 9


class Preempted(SteersmanError):  # noqa: N818
    """The process was asked to end (SIGTERM, SIGINT); it saved and can be run again with the same command."""

    exit_code = 75
