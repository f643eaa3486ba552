"""Labelled texts for classifiers: any text with a label, Davidson et al. (2017), and XSTest's prompts."""

from steersman.data.formats.fields import asked, chosen_keys, has, need, text, text_or
from steersman.data.formats.format import Format, Outcome, Row
from steersman.errors import DataError
from steersman.records import ClassifiedText

DAVIDSON = ("hate_speech", "offensive_language", "neither")


def _read_classified(row: Row) -> list[Outcome]:
    label = need(row, "label")
    if label is None or isinstance(label, dict | list) or not str(label).strip():
        raise DataError("'label' should be a string or a number")
    return [ClassifiedText(text(row, "text"), str(label), annotator=text_or(row, "annotator"), id=text_or(row, "id"))]


def _read_davidson(row: Row) -> list[Outcome]:
    label = str(need(row, "class"))
    if label not in ("0", "1", "2"):
        raise DataError(f"'class' should be 0, 1 or 2: seen {label!r}")
    return [ClassifiedText(text(row, "tweet"), DAVIDSON[int(label)], id=text_or(row, ""))]


def _read_xstest(row: Row) -> list[Outcome]:
    return [
        asked(
            text(row, "prompt"),
            id=f"xstest-{text_or(row, 'id')}",
            metadata=chosen_keys(row, "type", "label", "focus", "note"),
        )
    ]


FORMATS = (
    Format(
        "xstest",
        "XSTest prompts",
        ("id", "prompt", "type", "label", "focus"),
        lambda row: has(row, "prompt", "type", "label", "focus"),
        _read_xstest,
    ),
    Format("davidson", "Davidson's tweets", ("class", "tweet"), lambda row: has(row, "class", "tweet"), _read_davidson),
    Format(
        "classified",
        "texts with a class label",
        ("text", "label"),
        lambda row: has(row, "text", "label"),
        _read_classified,
    ),
)
