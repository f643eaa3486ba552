"""Public benchmarks of judges: LLMBar's pairs with a known answer, and MT-Bench's questions.

People's votes on MT-Bench answers are read as `arena`.
"""

from steersman.data.formats.fields import asked, chosen_keys, has, listed, number, text, text_or
from steersman.data.formats.format import Format, Outcome, Row
from steersman.errors import DataError
from steersman.records import Comparison, Completion

KNOWN = "known answer"
"""The annotator of pairs whose better answer is known."""


def _read_llmbar(row: Row) -> list[Outcome]:
    label = number(row, "label")
    if label not in (1.0, 2.0):
        raise DataError(f"unknown label: {label:g}; expected 1 or 2, the number of the better output")
    return [
        Comparison(
            asked(text(row, "input")),
            Completion(text(row, "output_1")),
            Completion(text(row, "output_2")),
            2.0 - label,
            annotator=KNOWN,
            id=text_or(row, "id"),
        )
    ]


def _read_question(row: Row) -> list[Outcome]:
    turns = listed(row, "turns")
    if not turns or not isinstance(turns[0], str):
        raise DataError("'turns' should be a list of texts: seen an empty list or another type")
    # Later turns ask about the answer to the first, which does not exist yet.
    return [asked(turns[0], id=text_or(row, "question_id"), metadata=chosen_keys(row, "category", "turns"))]


FORMATS = (
    Format(
        "llmbar",
        "LLMBar",
        ("input", "output_1", "output_2", "label"),
        lambda row: has(row, "input", "output_1", "output_2", "label"),
        _read_llmbar,
    ),
    Format(
        "mt-bench",
        "MT-Bench questions",
        ("question_id", "category", "turns"),
        lambda row: has(row, "question_id", "turns"),
        _read_question,
    ),
)
