"""Demonstrations and documents as rows to learn from: read, split by prompt, tokenised onto disk, counted."""

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steersman.data.kinds import as_demonstrations
from steersman.data.tokens import NoRowsError, TokenReport, TokenStore, build_token_store, open_or_build, store_key
from steersman.execution.context import RunContext
from steersman.execution.fit import TrainingRows
from steersman.loading.sources import hash_of_source
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
            **({} if data.columns is None else {"columns": data.columns.mapping()}),
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


def content_of_demonstrations(settings: SftSettings) -> dict[str, str]:
    """Hashes of the data and of what is mixed with it, for the stamp."""
    mixed = {f"mix {name}": hash_of_source(one.source) for name, one in settings.mix.items()}
    return {**content_of(settings.data), **mixed}


def demonstration_rows(run: RunContext, settings: SftSettings, model: LanguageModel) -> TrainingRows:
    """Demonstrations and documents as token rows on disk, in the run's folder. Process 0 writes, the others read."""
    DataSide.settle_template(run, settings.data, model.tokeniser)
    sides = (False, True) if settings.data.held_out else (False,)

    def read() -> tuple[dict[bool, TokenStore | None], dict[str, TokenStore]]:
        own = {held_out: _store(run, settings, model, held_out=held_out) for held_out in sides}
        return own, {name: _mixed_store(run, settings, name, model) for name in settings.mix}

    stores, others = run.world.first_before_others("reading the data", read)
    train, kept_back = stores[False], stores.get(True)
    assert train is not None
    held = [] if kept_back is None else [kept_back.row(i) for i in range(len(kept_back))]
    if not others:
        return TrainingRows(len(train), train.row, held)
    sizes = {name: len(store) for name, store in others.items()}
    shares = {name: one.share for name, one in settings.mix.items()}
    places = mixed_places(len(train), sizes, shares, seed=run.seed)
    for name, store in others.items():
        count = sum(of == name for of, _ in places)
        run.notice(f"{count:,} of {len(places):,} rows are of the mix {name!r}, which has {len(store):,}")
    all_stores = {"": train, **others}

    def row(i: int) -> Any:
        of, place = places[i]
        return all_stores[of].row(place)

    return TrainingRows(len(places), row, held)


def mixed_places(
    own: int, sizes: Mapping[str, int], shares: Mapping[str, float], *, seed: int
) -> list[tuple[str, int]]:
    """Where each row comes from: the source ("" is the data itself) and its place in it. All `own` rows are there once;
    each other source has its share of the whole, from a random order that begins anew where it ends."""
    places = [("", i) for i in range(own)]
    whole = own / (1 - sum(shares.values()))
    for name, size in sizes.items():
        order = list(range(size))
        random.Random(f"{seed}\x1f{name}").shuffle(order)
        places += [(name, order[i % size]) for i in range(max(1, round(whole * shares[name])))]
    return places


def _mixed_store(run: RunContext, settings: SftSettings, name: str, model: LanguageModel) -> TokenStore:
    """The rows of a source that is mixed in. What `data.held_out` keeps back by its prompt is not learned from it."""
    mix = settings.mix[name]
    share = settings.data.held_out if isinstance(settings.data.held_out, float) else None
    changed = {
        "source": mix.source,
        "format": mix.format,
        "columns": mix.columns,
        "split": None,
        "limit": None,
        "held_out": share,
    }
    own = settings.model_copy(update={"data": settings.data.model_copy(update=changed)})
    store = _store(run, own, model, held_out=False, mix=name)
    assert store is not None
    return store


def _store(
    run: RunContext, settings: SftSettings, model: LanguageModel, *, held_out: bool, mix: str = ""
) -> TokenStore | None:
    """One side's rows; None if nothing fell into the held-out share."""
    data = settings.data
    path = run.folder.folder.quarantine_path
    quarantine = None if held_out else path.with_stem(f"{path.stem}-{mix}") if mix else path
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
