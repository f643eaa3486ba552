"""`steersman data push`: a source of data as a data set on the hub, with a card."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from steersman.export.data_set import DataOptions, write_data_set
from steersman.export.hub import Push, check_repo, push_folder
from steersman.loading.sources import refuse_missing_source


@dataclass(frozen=True, slots=True)
class PushedData:
    push: Push
    rows: int
    notes: tuple[str, ...]


def run_push_data(source: str, repo: str, options: DataOptions, *, public: bool, dry_run: bool) -> PushedData:
    """Write the rows and the card into a temporary folder and upload them."""
    check_repo(repo)
    refuse_missing_source(source)
    with tempfile.TemporaryDirectory(prefix="steersman-push-") as place:
        folder = Path(place) / "data-set"
        folder.mkdir()
        written = write_data_set(source, repo, folder, options)
        push = push_folder(folder, repo, "dataset", public=public, dry_run=dry_run)
    return PushedData(push, written.rows, tuple(written.notes))
