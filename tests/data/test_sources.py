"""A source is one string: a file, a folder, a saved dataset, the hub, or a registered name."""

import json

import pytest

from steersman.data import sources
from steersman.data.sources import content_hash, open_parts, open_rows, parse_rest, register, registered
from steersman.errors import DataError, UsageError
from steersman.records import Document


@pytest.fixture
def named():
    before = dict(sources._OPENERS)
    yield register
    sources._OPENERS.clear()
    sources._OPENERS.update(before)


def write(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_folder_is_read_file_by_file_in_the_order_of_names(tmp_path):
    write(tmp_path / "b.jsonl", {"text": "3"})
    write(tmp_path / "a.jsonl", {"text": "1"}, {"text": "2"})
    write(tmp_path / ".hidden" / "c.jsonl", {"text": "no"})
    (tmp_path / "README.md").write_text("no rows")
    (tmp_path / "LICENSE.txt").write_text("no rows")
    assert [(line, row) for line, row in open_rows(str(tmp_path))] == [
        (1, {"text": "1"}),
        (2, {"text": "2"}),
        (1, {"text": "3"}),
    ]


def test_a_split_names_files_of_a_folder(tmp_path):
    write(tmp_path / "train-00001.jsonl", {"text": "train"})
    write(tmp_path / "test" / "part.jsonl", {"text": "test"})
    assert [row for _, row in open_rows(str(tmp_path), split="train")] == [{"text": "train"}]
    assert [row for _, row in open_rows(str(tmp_path), split="test")] == [{"text": "test"}]
    with pytest.raises(DataError, match="no files with rows of the split 'validation'"):
        open_parts(str(tmp_path), split="validation")


def test_folders_saved_by_datasets_are_read(tmp_path):
    from datasets import Dataset, DatasetDict

    rows = [{"prompt": f"p{i}", "messages": [{"role": "user", "content": "é"}]} for i in range(600)]
    Dataset.from_list(rows).save_to_disk(str(tmp_path / "one"))
    assert [row for _, row in open_rows(str(tmp_path / "one"))] == rows
    both = {"train": Dataset.from_list(rows[:2]), "test": Dataset.from_list(rows[2:3])}
    DatasetDict(both).save_to_disk(str(tmp_path / "two"))  # pyright: ignore[reportCallIssue]
    assert [row for _, row in open_rows(str(tmp_path / "two"))] == rows[:2]
    assert list(open_rows(str(tmp_path / "two"), split="test")) == [(1, rows[2])]
    DatasetDict({"a": both["test"], "b": both["train"]}).save_to_disk(str(tmp_path / "three"))
    with pytest.raises(DataError, match="has the splits a, b"):
        list(open_rows(str(tmp_path / "three")))
    DatasetDict({"only": both["test"]}).save_to_disk(str(tmp_path / "four"))
    assert list(open_rows(str(tmp_path / "four"))) == [(1, rows[2])]


def test_the_hub_without_network_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    for source in ("nobody-here/nothing", "hf:nobody-here/nothing/config"):
        with pytest.raises(DataError, match=r"could not be read from the hub.*save_to_disk"):
            list(open_rows(source))


def test_the_hub_streams_through_datasets(monkeypatch):
    import datasets

    asked = []

    def load_dataset(name, config, **settings):
        asked.append((name, config, settings))
        return datasets.Dataset.from_list([{"text": "a"}, {"text": "b"}]).to_iterable_dataset()

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert list(open_rows("hf:owner/name/sub/config", split="test")) == [(1, {"text": "a"}), (2, {"text": "b"})]
    assert asked == [("owner/name", "sub/config", {"split": "test", "streaming": True})]


def test_a_registered_name_gives_rows_or_records(named):
    named("toy", lambda rest: [{"text": rest}, Document("two")])
    assert "toy" in registered()
    assert list(open_rows("toy:things?count=4&seed=1")) == [
        (1, {"text": "things?count=4&seed=1"}),
        (2, {"kind": "document", "text": "two"}),
    ]
    assert parse_rest("things?count=4&seed=1") == ("things", {"count": "4", "seed": "1"})
    named("odd", lambda rest: [3])
    with pytest.raises(DataError, match="a named source returned a int"):
        list(open_rows("odd:x"))


@pytest.mark.parametrize("scheme", ["hf", "C", "a b", ""])
def test_a_bad_scheme_is_refused(scheme):
    with pytest.raises(UsageError, match="a source's name"):
        register(scheme, lambda rest: [])


def test_what_is_not_there_is_a_data_error_before_the_first_row(tmp_path, named):
    named("toy", lambda rest: [])
    with pytest.raises(DataError, match=r"there is no source 'missing.jsonl'.*named sources: .*toy:"):
        open_parts("missing.jsonl")
    (tmp_path / "a.jsonl.zst").write_bytes(b"x")
    with pytest.raises(DataError, match="unpack it first"):
        open_parts(str(tmp_path / "a.jsonl.zst"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no files with rows"):
        open_parts(str(tmp_path / "empty"))


def test_a_content_hash_changes_with_the_content_and_the_names_only(tmp_path):
    one = write(tmp_path / "d" / "a.jsonl", {"text": "1"})
    first = (content_hash(str(one)), content_hash(str(tmp_path / "d")))
    one.touch()
    assert (content_hash(str(one)), content_hash(str(tmp_path / "d"))) == first
    write(one, {"text": "2"})
    second = (content_hash(str(one)), content_hash(str(tmp_path / "d")))
    assert first[0] != second[0]
    assert first[1] != second[1]
    one.rename(one.with_name("b.jsonl"))
    assert content_hash(str(tmp_path / "d")) != second[1]
    assert content_hash("toy:a?seed=1") != content_hash("toy:a?seed=2")
