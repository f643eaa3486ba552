"""`steersman model new`: a model from scratch, with a tokeniser trained on a source of rows or taken from a model."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from steersman.data.kinds import answers_of, prompt_of
from steersman.data.load import ReadReport, load_records
from steersman.errors import DataError
from steersman.export.folder import new_folder
from steersman.loading.sources import register_sources
from steersman.models.fresh import (
    check_reopens,
    choose_size,
    fresh_config,
    parse_count,
    train_tokeniser,
    write_fresh_model,
)
from steersman.records import ClassifiedText, Document, Record

_TIED_BELOW = 10**9
"""Smaller models share the embedding with the output layer, as SmolLM, Qwen and Gemma of this size do."""


@dataclass(frozen=True, slots=True)
class NewModelOptions:
    """What a new model should be like. `tokeniser_from` is a source of rows, or a folder with a tokeniser."""

    like: str
    parameters: str
    tokeniser_from: str
    vocabulary: int = 8192
    context: int = 1024
    seed: int = 0
    rows: int = 100_000


@dataclass(frozen=True, slots=True)
class NewModel:
    """The model that was written."""

    folder: str
    like: str
    parameters: int
    hidden: int
    layers: int
    vocabulary: int
    context: int
    tokeniser_rows: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def run_new_model(out: Path, options: NewModelOptions) -> NewModel:
    """Write the model's folder, and reopen it in plain transformers. A folder that is there is not overwritten."""
    wanted = parse_count(options.parameters)
    with new_folder(out) as folder:
        tokeniser, rows = _tokeniser(options)
        tied = wanted < _TIED_BELOW
        size = choose_size(options.like, wanted, tokeniser, context=options.context, tied=tied)
        config = fresh_config(options.like, (size.hidden, size.layers), tokeniser, context=options.context, tied=tied)
        parameters = write_fresh_model(folder, config, tokeniser, seed=options.seed)
        check_reopens(folder, parameters)
    return NewModel(str(out), options.like, parameters, size.hidden, size.layers, len(tokeniser), options.context, rows)


def _tokeniser(options: NewModelOptions) -> tuple[Any, int]:
    """The tokeniser, and the number of rows that it was trained on (0: it is that of a model)."""
    place = Path(options.tokeniser_from).expanduser()
    if place.is_dir() and (place / "tokenizer_config.json").exists():
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(place), 0
    register_sources()
    report, counted = ReadReport(), [0]

    def texts() -> Iterator[str]:
        for record in load_records(options.tokeniser_from, report=report):
            counted[0] += 1
            yield from texts_of(record)
            if counted[0] >= options.rows:
                return

    tokeniser = train_tokeniser(texts(), options.vocabulary)
    if not counted[0]:
        raise DataError(report.nothing("texts", "rows to train the tokeniser on"))
    return tokeniser, counted[0]


def texts_of(record: Record) -> list[str]:
    """All texts of a record: the messages of its prompt, and its answers."""
    if isinstance(record, Document | ClassifiedText):
        return [record.text]
    prompt = prompt_of(record)
    asked = [] if prompt is None else [prompt.text] if prompt.text is not None else [m.content for m in prompt.messages]
    return [*asked, *(completion.text for completion in answers_of(record))]
