"""YAML recipes mean what the same recipe in TOML means, and the traps of YAML are none."""

import json
import tomllib
from importlib import resources

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from steersman.assemble.round_stages import find_stage
from steersman.errors import UsageError
from steersman.rounds.recipe import is_of_stages, read_graph
from steersman.settings.base import load_settings, read_recipe, shipped_recipes
from steersman.settings.ppo import PpoSettings
from steersman.settings.sft import SftSettings
from steersman.settings.yaml import parse_yaml


def parse(text: str):
    return parse_yaml(text.encode(), "r.yaml")


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_is_the_same_in_yaml(name, tmp_path):
    values = tomllib.loads((resources.files("steersman") / "recipes" / f"{name}.toml").read_text())
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
    assert read_recipe(path) == values
    if is_of_stages(values):
        read_graph(path, [], find_stage)


def test_the_settings_are_those_of_the_toml_recipe(tmp_path):
    (tmp_path / "a.toml").write_text(
        '[model]\npath = "m"\n[data]\nsource = "d"\nheld_out = "none"\ncolumns.prompt = "q"\n[run]\nout = "o"\n'
        "[optimiser]\nlearning_rate = 1e-5\nbetas = [0.9, 0.95]\n"
    )
    (tmp_path / "a.yml").write_text(
        "model: {path: m}\ndata:\n  source: d\n  held_out: null\ndata.columns.prompt: q\nrun.out: o\n"
        "optimiser:\n  learning_rate: 1e-5\n  betas:\n    - 0.9\n    - 0.95\n"
    )
    assert load_settings(SftSettings, tmp_path / "a.yml", []) == load_settings(SftSettings, tmp_path / "a.toml", [])


def test_errors_are_those_of_toml(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(
        "model: {path: m}\nprompts: {source: p}\nscorer: {path: s}\nrun: {out: o}\nkl:\n  coeficient: 0.1\n"
    )
    with pytest.raises(UsageError, match=r"unknown setting 'kl.coeficient': did you mean 'kl.coefficient'"):
        load_settings(PpoSettings, path, [])
    with pytest.raises(UsageError, match="neither a file nor the name"):
        load_settings(PpoSettings, tmp_path / "b.yaml", [])


def test_plain_values_follow_yaml_1_2():
    values = parse(
        "[no, Yes, on, off, y, true, False, 1e-5, 1E+3, .5, 3., 010, 0o17, 0x1F, -7, 12:30, 2020-01-01, 1_000, 1.2.3, "
        "~, null, '', .inf, -.inf, '1', \"true\"]".replace("[", "values: [", 1)
    )["values"]
    inf = float("inf")
    expected = [
        *("no", "Yes", "on", "off", "y", True, False, 1e-5, 1000.0, 0.5, 3.0, 10, 15, 31, -7, "12:30", "2020-01-01"),
        *("1_000", "1.2.3", None, None, "", inf, -inf, "1", "true"),
    ]
    assert [(type(one), one) for one in values] == [(type(one), one) for one in expected]


# Zl and Zp are U+2028 and U+2029, which PyYAML takes for line breaks as YAML 1.1 did
OTHERS = ["Cc", "Cs", "Zl", "Zp"]
letters = st.text(
    st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_characters="\x7f", exclude_categories=OTHERS)
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | letters,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(letters.filter(bool), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(letters.filter(bool), values, max_size=4))
def test_json_is_yaml(found):
    assert parse(json.dumps(found, ensure_ascii=False)) == found


def test_dotted_keys_are_tables_and_quoted_ones_are_not():
    assert parse("a.b: 1\na:\n  c: 2\na.d.e: 3\n") == {"a": {"b": 1, "c": 2, "d": {"e": 3}}}
    assert parse("'a.b': 1") == {"a.b": 1}
    assert parse("") == parse("# nothing\n") == {}


@pytest.mark.parametrize(
    "text", ["a: 1\na: 2", "a.b: 1\na.b: 2", "a:\n  b: 1\na.b: 2", "a.b: 2\na: 1", "a: 1\na.b: 2", "{a: {b: 1, b: 1}}"]
)
def test_a_key_that_is_there_twice_is_an_error_with_its_line(text):
    with pytest.raises(UsageError, match=r"r.yaml is not valid YAML: the key '.*' is there twice \(line \d"):
        parse(text)


def test_anchors_are_read_and_merged_mappings_give_way():
    assert parse("base: &b {x: 1, y: 2}\na:\n  <<: *b\n  y: 3\n")["a"] == {"x": 1, "y": 3}
    assert parse("a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc:\n  <<: [*a, *b]\n")["c"] == {"x": 1, "y": 2}
    with pytest.raises(UsageError, match="'<<' expects a mapping"):
        parse("<<: [x]")


BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdef", "bcdefg", strict=True)
)
FAULTS = {
    "a: [\n": r"expected the node content.*\(line 2, column 1\)",
    "a:\n\t b: 1": r"character '\\t' that cannot start any token \(line 2, column 1\); indent with spaces",
    "- 1": "holds a list; expected settings by name",
    "3": "holds one value; expected settings by name",
    "a: !!python/object:os.system x": "the tag 'tag:yaml.org,2002:python/object:os.system' is not read here",
    "a: !mine {b: 1}": "the tag '!mine' is not read here",
    "a: &x [*x]": "an alias that holds itself",
    "a: *none": "found undefined alias 'none'",
    "a: 1\n---\nb: 1": "expected a single document in the stream",
    "? [x]\n: 2": "a key that is no name",
    "[" * 3000: "nested too deeply",
    "a: " + "1" * 5000: "Exceeds the limit",
    "a: \x07": "special characters are not allowed",
    BOMB: "stands for more than 100,000 values",
}


@pytest.mark.parametrize("text", FAULTS)
def test_what_is_wrong_is_told_with_its_place(text):
    with pytest.raises(UsageError, match=FAULTS[text]):
        parse(text)


def test_a_file_that_is_not_utf_8_or_cannot_be_read_is_told(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_bytes("a: ä".encode("latin-1"))
    with pytest.raises(UsageError, match=r"not UTF-8 text \(byte 4, on line 1\)"):
        read_recipe(path)
    from steersman.settings.yaml import read_yaml

    with pytest.raises(UsageError, match=r"cannot be read: .*; give another"):
        read_yaml(tmp_path, otherwise="give another")
