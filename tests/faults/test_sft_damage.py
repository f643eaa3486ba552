"""Damaged checkpoints are named and passed over; a full disk is said and costs nothing but the time until it has
room."""

import json
import re
import shutil
from pathlib import Path

import pytest
from killing import Forked, assert_same_run, content_hash, rows_without_times, wait

from steersman.runs.checkpoints import CheckpointStore

pytestmark = pytest.mark.slow

LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({bytes}, resource.RLIM_INFINITY))"


@pytest.fixture
def killed(killed_sft, tmp_path) -> Path:
    """A copy of the killed run; a run that was moved is still the same run."""
    return Path(shutil.copytree(killed_sft, tmp_path / "run"))


def checkpoints(folder: Path) -> list[Path]:
    return sorted((folder / "checkpoints").glob("step-*"))


def flip_bit(path: Path, place: float = 0.7) -> None:
    content = bytearray(path.read_bytes())
    content[int(len(content) * place)] ^= 0b100
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("file", "harm"),
    [("weights.safetensors", flip_bit), ("optimiser.safetensors", cut), ("state.json", Path.unlink)],
    ids=["bit flipped", "cut short", "missing"],
)
def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_leads_to_the_same_bits(
    file, harm, killed, sft_command, whole_sft, tmp_path
):
    newest, before = checkpoints(killed)[-1], checkpoints(killed)[-2]
    harm(newest / file)
    assert wait(Forked(sft_command()(killed), tmp_path / "log.txt")) == 0
    said = next(line for line in (tmp_path / "log.txt").read_text().splitlines() if "damaged" in line)
    assert str(newest) in said
    assert file in said
    assert f"Using {before.name} instead" in said
    assert_same_run(killed, whole_sft.folder)


def test_if_all_checkpoints_are_damaged_the_run_ends_with_5_and_touches_nothing(killed, sft_command, tmp_path):
    for checkpoint in checkpoints(killed):
        flip_bit(checkpoint / "optimiser.safetensors")
    # what the kill left half written may be cleaned away
    before = {p: p.read_bytes() for c in checkpoints(killed) for p in c.rglob("*") if p.is_file()}
    rows = rows_without_times(killed)
    assert wait(Forked(sft_command()(killed), tmp_path / "log.txt")) == 5
    said = (tmp_path / "log.txt").read_text()
    assert all(checkpoint.name in said for checkpoint in checkpoints(killed))
    assert "Traceback" not in said
    assert {path: path.read_bytes() for path in before} == before
    assert rows_without_times(killed) == rows


def test_a_full_disk_is_said_with_path_and_bytes_and_after_it_the_run_ends_in_the_same_bits(
    killed, sft_command, whole_sft, tmp_path
):
    there, log = checkpoints(killed), tmp_path / "log.txt"
    size = (there[-1] / "optimiser.safetensors").stat().st_size
    assert wait(Forked(sft_command()(killed), log, LIMIT.format(bytes=size - 1))) == 5
    said = log.read_text()
    assert "Traceback" not in said
    (path, needed) = re.findall(r"no room for the checkpoint (\S+) .* needs about ([\d,]+) bytes", said)[0]
    assert Path(path).parent == killed / "checkpoints"
    assert int(needed.replace(",", "")) > size
    store = CheckpointStore(killed / "checkpoints")
    assert checkpoints(killed) == there
    assert not any(store.verify(checkpoint) for checkpoint in there)
    assert not list((killed / "checkpoints").glob(".tmp-*"))
    assert wait(Forked(sft_command()(killed), log)) == 0
    assert_same_run(killed, whole_sft.folder)


def test_a_disk_too_full_for_the_model_keeps_the_run_open_until_there_is_room(sft_command, whole_sft, tmp_path):
    folder, log = Path(shutil.copytree(whole_sft.folder, tmp_path / "run")), tmp_path / "log.txt"
    size = (folder / "model" / "model.safetensors").stat().st_size
    shutil.rmtree(folder / "model")
    (folder / "ending.json").unlink()
    assert wait(Forked(sft_command()(folder), log, LIMIT.format(bytes=size - 1))) == 1
    said = log.read_text()
    assert "Traceback" not in said
    assert re.search(rf"{folder / 'model'} could not be written .* [\d,]+ bytes", said)
    assert not (folder / "model").exists()
    assert not (folder / "ending.json").exists()
    assert wait(Forked(sft_command()(folder), log)) == 0
    assert json.loads((folder / "ending.json").read_text())["state"] == "finished"
    assert content_hash(folder / "model" / "model.safetensors") == content_hash(
        whole_sft.folder / "model" / "model.safetensors"
    )
    assert_same_run(folder, whole_sft.folder)
