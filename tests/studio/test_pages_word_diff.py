"""Word differences in the browser: the stretches are the texts, and what is marked as shared is in both."""

import pytest

CASES = [
    ("", ""),
    ("", "new words"),
    ("gone", ""),
    ("I like cricket.", "I like cricket."),
    ("I like cricket a lot.", "I like football a lot."),
    ("one two three four five six", "one two 3 four five six seven"),
    ("a  b\n\nc", "a b\nc"),
    ("it's fine", "it’s fine"),
    ("Grüße 你好 мир", "Grüße 再见 мир"),
    ("word " * 300, "word " * 299 + "end"),
    ("x y z " * 50, "p q r " * 60),
]


@pytest.fixture(scope="module")
def diff(browser, tmp_path_factory):
    """The page's own module, in a page of the studio."""
    from studio_browser import Served

    served = Served(str(tmp_path_factory.mktemp("studio") / "studio.db"))
    page = browser.new_page()
    page.goto(served.address + "/sign-in")
    yield lambda name, *texts: page.evaluate(
        "async ([name, texts]) => (await import('/static/label/word_diff.js'))[name](...texts)", [name, list(texts)]
    )
    page.close()
    served.stop()


def text(stretches) -> str:
    return "".join(one["text"] for one in stretches)


@pytest.mark.parametrize(("one", "other"), CASES)
def test_the_stretches_are_the_texts(diff, one, other):
    left, right = diff("differences", one, other)
    assert (text(left), text(right)) == (one, other)
    edits = diff("edits", one, other)
    assert "".join(each["text"] for each in edits if each["kind"] != "added") == one
    assert "".join(each["text"] for each in edits if each["kind"] != "gone") == other


def test_a_changed_word_is_marked_alone(diff):
    left, right = diff("differences", "I like cricket a lot.", "I like football a lot.")
    assert [one["text"] for one in left if one["own"]] == ["cricket"]
    assert [one["text"] for one in right if one["own"]] == ["football"]


def test_equal_texts_have_no_marks(diff):
    assert not any(one["own"] for side in diff("differences", "The same.", "The same.") for one in side)


def test_a_lone_word_between_long_differences_is_no_common_ground(diff):
    left, _ = diff("differences", "apples pears the plums cherries", "engines wheels the brakes lamps")
    assert [one["own"] for one in left] == [True]


def test_two_long_texts_are_compared_quickly(diff):
    words = [f"w{n % 700}" for n in range(4000)]
    changed = [f"c{n}" if n % 40 == 0 else word for n, word in enumerate(words)]
    edits = diff("edits", " ".join(words), " ".join(changed))
    assert sum(one["kind"] == "added" for one in edits) == 100
