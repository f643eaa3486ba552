"""Demonstrations and documents as rows to learn from: read, split by prompt, tokenised onto disk, counted."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steersman.data.kinds import as_demonstrations
from steersman.data.tokens import NoRowsError, TokenReport, TokenStore, build_token_store, open_or_build, store_key
from steersman.execution.context import RunContext
from steersman.execution.fit import TrainingRows
from steersman.models.language_model import LanguageModel
from steersman.settings.sft import SftSettings
from steersman.training_data.split import DataSide, content_of, cut_words, longest_row


@dataclass(frozen=True)
class StoreBuilder:
    """Fills a token store with the demonstrations of one side."""

    side: DataSide
    settings: SftSettings
    tokeniser: Any
    max_length: int

    @property
    def key(self) -> str:
        """A hash of everything that the store's content depends on."""
        data = self.settings.data
        hashes = " ".join(f"{name}={value}" for name, value in sorted(content_of(data).items()))
        decided_by = {
            "max_length": self.max_length,
            "loss_on": self.settings.loss_on,
            "chosen": self.settings.take_chosen,
            "limit": data.limit,
            "held_out": data.held_out,
            "format": data.format,
            "template": data.template,
            "side": self.side.held_out,
        }
        return store_key(hashes, self.tokeniser, decided_by)

    def __call__(self, folder: Path) -> TokenReport:
        left_out: Counter[str] = Counter()
        rows = as_demonstrations(self.side.records(), take_chosen=self.settings.take_chosen, left_out=left_out)
        try:
            report = build_token_store(
                rows, self.tokeniser, folder, max_length=self.max_length, loss_on=self.settings.loss_on
            )
        except NoRowsError as error:
            left_out = Counter({f"a record of the kind {kind}": count for kind, count in left_out.items()})
            expected = f"demonstrations or texts with room for an answer in {self.max_length} tokens"
            raise NoRowsError(self.side.report.nothing("rows to learn from", expected, left_out)) from error
        report.dropped.update(left_out)
        return report


def demonstration_rows(run: RunContext, settings: SftSettings, model: LanguageModel) -> TrainingRows:
    """Demonstrations and documents as token rows on disk, in the run's folder. Process 0 writes, the others read."""
    DataSide.settle_template(run, settings.data, model.tokeniser)
    sides = (False, True) if settings.data.held_out else (False,)

    def read() -> dict[bool, TokenStore | None]:
        return {held_out: _store(run, settings, model, held_out=held_out) for held_out in sides}

    stores = run.world.first_before_others("reading the data", read)
    train, kept_back = stores[False], stores.get(True)
    assert train is not None
    held = [] if kept_back is None else [kept_back.row(i) for i in range(len(kept_back))]
    return TrainingRows(len(train), train.row, held)


def _store(run: RunContext, settings: SftSettings, model: LanguageModel, *, held_out: bool) -> TokenStore | None:
    """One side's rows; None if nothing fell into the held-out share."""
    data = settings.data
    quarantine = None if held_out else run.folder.folder.quarantine_path
    side = DataSide(data, held_out, quarantine)
    build = StoreBuilder(side, settings, model.tokeniser, longest_row(data, model.context_length))
    try:
        store, report = open_or_build(run.path / "tokens", build.key, build)
    except NoRowsError:
        if not side.may_be_empty:
            raise
        run.notice(f"nothing fell into the held-out share of {data.held_out}; the run goes without held-out numbers")
        return None
    words = f"{report.rows:,} rows {side.words}, {report.tokens:,} tokens of which {report.targets:,} are learned"
    if report.truncated:
        words += f"; {report.truncated:,} rows were cut to {cut_words(data, model.context_length)}"
    side.tell(run, words, report.dropped)
    return store
