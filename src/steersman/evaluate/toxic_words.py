"""Toxicity by a word list, as a check beside the classifier."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from steersman.errors import DataError


class WordList:
    """Words and phrases, matched as whole words, ignoring case."""

    def __init__(self, words: Sequence[str]) -> None:
        joined = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
        self._found = re.compile(rf"(?<!\w)(?:{joined})(?!\w)", re.IGNORECASE)

    def holds(self, text: str) -> bool:
        return self._found.search(" ".join(text.split())) is not None


def read_words(path: str) -> WordList:
    """Words from a file, one per line; of a CSV file the first column below the header."""
    try:
        lines = Path(path).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"toxicity.words={path} cannot be read: {error}; expected a text file with one word per line"
        ) from error
    if path.endswith(".csv"):
        lines = [row[0] for row in csv.reader(lines[1:]) if row]
    words = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not words:
        raise DataError(f"toxicity.words={path} holds no words; expected one per line")
    return WordList(words)
