import errno

import pytest
import torch
from forked import run_text

from steersman.cli.machine_errors import as_message
from steersman.errors import UsageError


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "a.jsonl"), "a.jsonl: Permission denied; change its"),
        (OSError(errno.EROFS, "Read-only file system", "x/report.html"), "choose a place that can be written"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x" * 300), "choose a shorter name"),
        (OSError(errno.ENOSPC, "No space left on device"), "free some space"),
        (MemoryError(), "the memory was not enough: no more could be had"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried"), "the memory was not enough"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you"), "the memory was not enough"),
        (RuntimeError("Error while serializing: I/O error: File too large (os error 27)"), "raise the limit of"),
        (RuntimeError("unexpected pos 128 vs 22"), "free some space"),
        (ExceptionGroup("two", [MemoryError("a"), MemoryError("b")]), "the memory was not enough: a"),
    ],
)
def test_what_the_machine_refuses_is_a_message_with_what_to_do(error, said):
    assert said in str(as_message(error))


@pytest.mark.parametrize("error", [KeyError("a"), RuntimeError("shapes differ"), ValueError("os"), OSError("odd")])
def test_any_other_error_keeps_its_traceback(error):
    assert as_message(error) is None


def test_a_wrong_name_is_the_users_error_and_a_full_disk_is_not():
    assert isinstance(as_message(FileNotFoundError(errno.ENOENT, "No such file", "a")), UsageError)
    assert not isinstance(as_message(OSError(errno.ENOSPC, "No space left", "a")), UsageError)


LIMIT = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("size", [4_000, 40_000, 200_000])
def test_a_disk_that_is_too_small_is_a_message(tmp_path, size):
    (tmp_path / "rows.txt").write_text("one\n\ntwo\n\nthree\n")
    words = ["steersman", "sft", "model.path=small", "data.source=rows.txt", "train.epochs=1", "run.out=run"]
    # The model is made first: it is no part of what is tested.
    made = "from steersman.models.tiny import write_tiny_model\nfrom pathlib import Path\n"
    made += "write_tiny_model(Path('small'), 'llama')\n"
    log = tmp_path / "log"
    log.write_text("")
    # What the command prints goes through a pipe, which has no limit on its size.
    pipe = f"import os, subprocess\nd = subprocess.Popen(['tee', '-a', {str(log)!r}], stdin=subprocess.PIPE)\n"
    pipe += "os.dup2(d.stdin.fileno(), 1); os.dup2(d.stdin.fileno(), 2)\n"
    text = f"import os\nos.chdir({str(tmp_path)!r})\n" + made + pipe + LIMIT.format(size)
    text += f"import sys\nsys.argv = {words!r}\nfrom steersman.cli.main import main\nmain()"
    ended = run_text(text, cwd=tmp_path)
    said = log.read_text()
    assert ended.returncode in (1, 5), said  # 5: a checkpoint found no room
    assert "Traceback" not in said
    assert "File too large" in said
