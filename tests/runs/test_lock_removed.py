"""A lock whose folder is removed by its holder."""

import shutil
from threading import Thread

from steersman.runs.lock import RunLock, holder_of


def test_a_lock_taken_while_its_folder_is_removed_is_on_the_new_folder(tmp_path):
    folder = tmp_path / "run"
    first, second = RunLock(folder).acquire(), RunLock(folder)
    waiting = Thread(target=second.acquire)
    waiting.start()
    shutil.rmtree(folder)
    first.release()
    waiting.join()
    assert holder_of(folder) is not None
    second.release()
