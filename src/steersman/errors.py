"""Error classes. Each has the exit code that the command line ends with.

A message says what was seen, what was expected and what to do.
"""


class SteersmanError(Exception):
    """Base class of every error that Steersman raises on purpose. The command line prints it without a traceback."""

    exit_code = 1


class UsageError(SteersmanError, ValueError):
    """A setting, an option or an argument that is invalid."""

    exit_code = 2


class DataError(SteersmanError, ValueError):
    """Data that cannot be read, or that contradicts itself."""

    exit_code = 3


class ModelError(SteersmanError, ValueError):
    """A model, tokeniser or adapter that is missing, damaged or does not fit."""

    exit_code = 4


class CheckpointError(SteersmanError):
    """A checkpoint that is damaged, or that belongs to another run."""

    exit_code = 5


class RunLocked(SteersmanError):  # noqa: N818
    """Another process has locked this run folder."""

    exit_code = 6


class NotFinite(SteersmanError, ArithmeticError):  # noqa: N818
    """Weights are NaN or infinite, or the loss or the gradient was for too many steps in a row."""

    exit_code = 7


class MissingLibrary(SteersmanError, ImportError):  # noqa: N818
    """An optional library that the settings ask for is not installed."""

    exit_code = 8


class ServiceError(SteersmanError):
    """A service that a run needs (a reward model behind HTTP) is unreachable or refuses requests.

    The checkpoint and the scores received so far are kept.
    """

    exit_code = 9


class GateRefused(SteersmanError):  # noqa: N818
    """Judgements, or a model, did not pass a gate."""

    exit_code = 10


class Preempted(SteersmanError):  # noqa: N818
    """The process was asked to stop (SIGTERM, SIGINT). It saved its state; the same command resumes the run."""

    exit_code = 75
