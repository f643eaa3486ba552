"""Reading rows from every kind of file, whatever its line ends, and whatever is broken in it."""

import codecs
import csv
import gzip
import json
import tracemalloc

import pytest

from steersman.data.files import MAX_ROW_BYTES, read_file
from steersman.errors import DataError
from steersman.records import Malformed

SCRIPTS = {
    "text": (
        "English, Ελληνικά, Русский, עברית, العربية, हिन्दी, বাংলা, ไทย, 中文, 日本語, 한국어, ქართული, አማርኛ, 👩‍👩‍👧‍👦 "
        "🏴‍☠️ e\u0301\u200d\u2028\u2029\x85"
    )
}


def rows_of(path):
    return list(read_file(path))


def good(path):
    return [row for _, row in rows_of(path) if isinstance(row, dict)]


def bad(path):
    return [(row.line, row.reason) for _, row in rows_of(path) if isinstance(row, Malformed)]


def write_as(folder, ending, rows):
    """The rows in a file of this kind, written by the standard library or pyarrow and not by us."""
    path = folder / f"rows{ending}"
    plain = ending.removesuffix(".gz")
    if plain == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    opener = gzip.open if ending.endswith(".gz") else open
    with opener(path, "wt", encoding="utf-8", newline="") as file:
        if plain in (".jsonl", ".ndjson"):
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        elif plain == ".json":
            json.dump(rows, file, ensure_ascii=False, indent=2)
        else:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if plain == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path


KINDS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".jsonl.gz", ".json.gz", ".csv.gz", ".tsv.gz")


@pytest.mark.parametrize("ending", KINDS)
def test_every_script_survives_every_kind_of_file(tmp_path, ending):
    rows = [SCRIPTS, {"text": 'quotes " , \t and\nnew lines\r\nin a text'}]
    assert good(write_as(tmp_path, ending, rows)) == rows


def test_a_byte_order_mark_windows_line_ends_and_blank_lines_do_not_matter(tmp_path):
    lines = tmp_path / "a.jsonl"
    lines.write_bytes(codecs.BOM_UTF8 + b'{"text": "a"}\r\n\r\n   \r\n{"text": "b"}')
    assert rows_of(lines) == [(1, {"text": "a"}), (4, {"text": "b"})]
    table = tmp_path / "a.csv"
    table.write_bytes(codecs.BOM_UTF8 + b'text,label\r\na,1\r\n\r\n"b\r\nc",2\r\nd,3\r\n')
    assert rows_of(table) == [
        (2, {"text": "a", "label": "1"}),
        (4, {"text": "b\r\nc", "label": "2"}),
        (6, {"text": "d", "label": "3"}),
    ]
    array = tmp_path / "a.json"
    array.write_bytes(codecs.BOM_UTF8 + b'[\r\n{"text": "a"},\r\n\r\n{"text":\r\n"b"}, {"text": "c"}]\r\n')
    assert rows_of(array) == [(2, {"text": "a"}), (4, {"text": "b"}), (5, {"text": "c"})]
    old = tmp_path / "old.csv"
    old.write_bytes(b"text,label\ra,1\rb,2")
    assert rows_of(old) == [(2, {"text": "a", "label": "1"}), (3, {"text": "b", "label": "2"})]


def test_bad_lines_are_reported_with_their_line_and_reading_goes_on(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        b'{"a": 1}\n'
        b'{"a": \n'
        b'{"a": "\xff"}\n'
        b"[1]\n"
        b'{"a": NaN}\n'
        + b"[" * 200_000
        + b"\n"
        + b'{"a": "'
        + b"x" * MAX_ROW_BYTES
        + b'"}\n'
        + b'{"a": 2}\n'
        + b'{"a": '
    )
    assert good(path) == [{"a": 1}, {"a": 2}]
    assert bad(path) == [
        (2, "invalid JSON: Expecting value at character 8"),
        (3, "invalid UTF-8: at byte 8"),
        (4, "not an object: a row should be {…}, seen list"),
        (5, "invalid JSON: NaN is not JSON"),
        (6, "invalid JSON: nested too deeply"),
        (7, "too long: 1,000,010 bytes where 1,000,000 are allowed"),
        (9, "invalid JSON: Expecting value at character 7"),
    ]


def test_a_line_of_exactly_the_limit_is_read(tmp_path):
    path = tmp_path / "a.jsonl"
    for size, ok in ((MAX_ROW_BYTES, True), (MAX_ROW_BYTES + 1, False)):
        for end in (b"\n", b""):
            path.write_bytes(b'{"a": "' + b"x" * (size - 9) + b'"}' + end)
            assert bool(good(path)) is ok, (size, end)
            assert rows_of(path)[0][0] == 1


def test_a_long_array_is_read_in_pieces_with_lines(tmp_path):
    path = tmp_path / "a.json"
    rows = [{"n": n, "text": "中" * (n % 97) + '"]},{[' * (n % 5)} for n in range(5000)]
    path.write_text("[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]", encoding="utf-8")
    assert rows_of(path) == [(n + 2, row) for n, row in enumerate(rows)]


def test_what_is_wrong_in_an_array_is_reported(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('[{"a": 1},\n3,\n{"a": 2},\n{"a"\n3},\n{"a": 4}]')
    assert good(path) == [{"a": 1}, {"a": 2}]
    assert bad(path) == [
        (2, "not an object: a row should be {…}, seen int"),
        (4, "invalid JSON: Expecting ':' delimiter on line 5; the rest of the array cannot be read"),
    ]
    path.write_text('[{"a": 1}')
    assert bad(path) == [(1, "invalid JSON: the array does not end")]
    path.write_text('[{"a": "' + "x" * MAX_ROW_BYTES + '"}, {"a": 1}]')
    assert (len(good(path)), bad(path)[0][1][:9]) == (1, "too long:")
    path.write_text("")
    assert bad(path) == [(1, "an empty file")]
    path.write_text("hello")
    assert bad(path)[0][1].startswith("invalid JSON: a file of rows begins with [ or {")


def test_json_files_may_hold_lines_or_one_object_or_a_wrapped_list(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": 1}\n{"a": \n{"a": 2}\n')
    assert (good(path), bad(path)[0][0]) == ([{"a": 1}, {"a": 2}], 2)
    path.write_text('{"a"\n{"a": 2}\n')
    assert (good(path), bad(path)[0][0]) == ([{"a": 2}], 1)
    path.write_text('{\n "a": 1\n}')
    assert rows_of(path) == [(1, {"a": 1})]
    path.write_text('{\n "data": [\n{"a": 1}, {"a": 2}]}')
    assert good(path) == [{"a": 1}, {"a": 2}]
    path.write_text('{\n "a": }')
    assert bad(path)[0][1].startswith("invalid JSON: Expecting value")
    path.write_text('{\n "a": "' + "x" * MAX_ROW_BYTES + '"}')
    assert bad(path)[0][1].startswith("too long")


def test_bad_rows_of_a_table_are_reported(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b'text,label\na,1\nb\nc,2,3\n"d\nd",4\ne,' + b"x" * (MAX_ROW_BYTES + 1) + b"\nf,5\n")
    assert [row["text"] for row in good(path)] == ["a", "d\nd", "f"]
    assert bad(path) == [
        (3, "invalid CSV: 1 cells where the header has 2"),
        (4, "invalid CSV: 3 cells where the header has 2"),
        (7, f"too long: {MAX_ROW_BYTES + 4:,} bytes where {MAX_ROW_BYTES:,} are allowed"),
    ]


def test_a_damaged_gz_says_so_after_what_could_be_read(tmp_path):
    path = write_as(tmp_path, ".jsonl.gz", [{"a": n, "noise": str(hash(str(n)))} for n in range(3000)])
    path.write_bytes(path.read_bytes()[:-2000])
    assert 0 < len(good(path)) < 3000
    (line, reason), *_ = bad(path)[-1:]
    assert line > 1
    assert reason.startswith("damaged gz file")


def test_paragraphs_of_plain_text_are_rows(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("\n\nFIRST:\nhello\n\n\nSECOND:\nyou\n")
    assert rows_of(path) == [(3, {"text": "FIRST:\nhello"}), (7, {"text": "SECOND:\nyou"})]


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.tsv", "a.jsonl", "a.txt.gz"])
def test_an_endless_line_is_a_bad_row_and_is_never_held_whole(tmp_path, name):
    """40 MB in one line, and a good row before and after it. The peak is measured by tracemalloc."""
    good_row = {"jsonl": '{"text": "good"}\n', "txt": "good\n\n"}.get(name.split(".")[1], "good\n")
    path = tmp_path / name
    opener = gzip.open if name.endswith(".gz") else open
    with opener(path, "wt") as file:
        file.write("" if good_row != "good\n" else "text\n")
        file.write(good_row)
        for _ in range(40):
            file.write("x" * 1_000_000)
        file.write("\n" + ("\n" if "txt" in name else "") + good_row)
    tracemalloc.start()
    found = rows_of(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [row for _, row in found if isinstance(row, dict)] == [{"text": "good"}, {"text": "good"}]
    (reason,) = [row.reason for _, row in found if not isinstance(row, dict)]
    assert reason.startswith("too long: 40,000,00")
    assert peak < 12_000_000


def test_a_paragraph_of_endless_lines_is_a_bad_row(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("good\n\n" + "a line of it\n" * 100_000 + "\ngood\n")
    first, (line, bad_row), last = rows_of(path)
    assert (first[1], line, last) == ({"text": "good"}, 3, (100_004, {"text": "good"}))
    assert not isinstance(bad_row, dict)
    assert bad_row.reason == "too long: 1,300,000 bytes where 1,000,000 are allowed"


def test_kinds_of_files_that_cannot_be_read_say_what_to_do(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"no")
    with pytest.raises(DataError, match="not a Parquet file"):
        rows_of(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"unpack the \.gz first"):
        rows_of(tmp_path / "a.parquet.gz")
    with pytest.raises(DataError, match="unknown file type"):
        rows_of(tmp_path / "a.exe")
