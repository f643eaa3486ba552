"""Token stores: what was encoded comes back, row by row, and nothing is dropped without a reason."""

import shutil

import numpy as np
import pytest

from steersman.data.tokens import TokenStore, TokenWriter, build_token_store, open_or_build, store_key, tokeniser_hash
from steersman.errors import DataError
from steersman.models.tiny import tiny_tokeniser
from steersman.records import Comparison, Completion, Demonstration, Document, Message, Prompt
from steersman.text.template import encode_demonstration, encode_document


@pytest.fixture(scope="module")
def tokeniser():
    return tiny_tokeniser()


def demonstrations(count):
    for n in range(count):
        yield Demonstration(Prompt((Message("user", f"What is {n}?"),)), Completion(f"{n} is a number. " * (n % 5 + 1)))


def test_rows_come_back_as_they_were_encoded(tokeniser, tmp_path):
    records = [*demonstrations(20), Document("The sky is blue.")]
    report = build_token_store(records, tokeniser, tmp_path / "s", max_length=256)
    store = TokenStore(tmp_path / "s")
    expected = [encode_demonstration(tokeniser, r, max_length=256) for r in records[:-1]]
    expected.append(encode_document(tokeniser, records[-1], max_length=256))
    assert len(store) == report.rows == 21
    assert store.lengths.tolist() == [len(e.ids) for e in expected]
    for i in (0, 7, 20, -1):
        assert tuple(store.row(i).ids.tolist()) == expected[i].ids
        assert tuple(store.row(i).loss_mask.tolist()) == expected[i].loss
    assert report.targets == sum(e.targets for e in expected)
    assert report.tokens == int(store.offsets[-1])
    with pytest.raises(DataError, match="row 21 does not exist: the store has 21 rows"):
        store.row(21)


def test_cut_and_dropped_rows_are_counted_with_their_reason(tokeniser, tmp_path):
    long = Demonstration(Prompt((Message("user", "why " * 200),)), Completion("so"))
    pair = Comparison(Prompt(text="a"), Completion("b"), Completion("c"), 1.0)
    records = [*demonstrations(5), long, pair]
    lengths = [len(encode_demonstration(tokeniser, r, max_length=10_000).ids) for r in records[:5]]
    limit = sorted(lengths)[2]
    report = build_token_store(records, tokeniser, tmp_path / "s", max_length=limit)
    assert report.rows == 5
    assert report.truncated == sum(length > limit for length in lengths) == 2
    assert dict(report.dropped) == {
        "the prompt fills the row: no answer tokens are left": 1,
        "a comparison, which has no single answer to train on": 1,
    }
    assert TokenStore(tmp_path / "s").lengths.max() <= limit


def test_a_store_is_built_once_and_opened_after(tokeniser, tmp_path):
    built = []

    def build(folder):
        built.append(folder)
        return build_token_store(demonstrations(3), tokeniser, folder, max_length=64)

    first, report = open_or_build(tmp_path / "cache", "key", build)
    again, same = open_or_build(tmp_path / "cache", "key", build)
    assert len(built) == 1
    assert (report, len(first)) == (same, len(again))


def test_the_key_changes_with_source_settings_and_tokeniser(tokeniser):
    settings = {"max_length": 64, "loss_on": "answer"}
    base = store_key("hash", tokeniser, settings)
    assert base == store_key("hash", tiny_tokeniser(), dict(reversed(settings.items())))
    other = tiny_tokeniser()
    other.chat_template = (other.chat_template or "") + " "
    more = tiny_tokeniser()
    more.add_special_tokens({"additional_special_tokens": ["<|odd|>"]})
    others = [store_key("hush", tokeniser, settings), store_key("hash", tokeniser, {**settings, "max_length": 65})]
    others += [store_key("hash", other, settings), store_key("hash", more, settings)]
    assert len({base, *others}) == 5
    before = tokeniser_hash(tokeniser)
    tokeniser("a b c", truncation=True, max_length=2, padding="max_length")
    assert tokeniser_hash(tokeniser) == before


def test_a_store_is_there_whole_or_not_at_all(tokeniser, tmp_path):
    def failing():
        yield from demonstrations(2)
        raise DataError("no more")

    with pytest.raises(DataError, match="no more"):
        build_token_store(failing(), tokeniser, tmp_path / "s", max_length=64)
    with pytest.raises(DataError, match="no rows are left to train on: no records"):
        build_token_store([], tokeniser, tmp_path / "s", max_length=64)
    with pytest.raises(DataError, match="leaves no token to train on"):
        build_token_store([], tokeniser, tmp_path / "s", max_length=1)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match="no readable token store"):
        TokenStore(tmp_path / "s")


def test_a_damaged_store_says_so(tokeniser, tmp_path):
    build_token_store(demonstrations(3), tokeniser, tmp_path / "s", max_length=64)
    data = (tmp_path / "s" / "ids.bin").read_bytes()
    (tmp_path / "s" / "ids.bin").write_bytes(data[:-4])
    with pytest.raises(DataError, match=r"ids\.bin: .* bytes where .* are expected; delete"):
        TokenStore(tmp_path / "s")


def test_two_builders_of_one_store_do_not_hurt_each_other(tokeniser, tmp_path):
    row = encode_document(tokeniser, Document("a b c"), max_length=64)
    with TokenWriter(tmp_path / "s") as late:
        late.add(row)
        build_token_store([Document("a b c")], tokeniser, tmp_path / "other", max_length=64)
        shutil.move(tmp_path / "other", tmp_path / "s")
    assert np.array_equal(TokenStore(tmp_path / "s").row(0).ids.numpy(), np.array(row.ids))
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_a_place_that_is_taken_by_something_else_is_an_error(tokeniser, tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "letter.txt").write_text("mine")
    with pytest.raises(OSError, match="s"):
        build_token_store([Document("a b c")], tokeniser, tmp_path / "s", max_length=64)
    assert [p.name for p in tmp_path.iterdir()] == ["s"]
    assert (tmp_path / "s" / "letter.txt").read_text() == "mine"
