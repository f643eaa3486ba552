"""The batches of a revision run, each a file in its folder: those that are there are read, the others written."""

import json
from collections.abc import Sequence
from pathlib import Path

from steersman.constitution.document import Constitution
from steersman.constitution.tally import RevisionTally
from steersman.errors import DataError, Preempted
from steersman.execution.context import RunContext
from steersman.inference.draw import AnsweringModel
from steersman.inference.endpoint_writer import EndpointWriter
from steersman.inference.revision import LocalWriter, RevisionPlan, Writer, revise_group
from steersman.loading.saved import open_any_model
from steersman.records import Critique, Prompt, from_dict, to_dict
from steersman.rollout.engine import Sampling
from steersman.runs.folder import atomic_write_text
from steersman.settings.judge import is_endpoint
from steersman.settings.revise import ReviseSettings, WritingSettings
from steersman.training_data.chat import settle_template

ROWS = "critiques"


def sampling_of(settings: WritingSettings) -> Sampling:
    """The engine's settings for these."""
    return Sampling(
        settings.max_new_tokens,
        settings.temperature,
        top_k=settings.top_k,
        top_p=settings.top_p,
        min_p=settings.min_p,
        repetition_penalty=settings.repetition_penalty,
        stop=tuple(settings.stop),
    )


class RevisionBatches:
    """A revision run's batches."""

    def __init__(
        self, settings: ReviseSettings, constitution: Constitution, prompts: Sequence[Prompt], run: RunContext
    ) -> None:
        self.settings, self.constitution, self.prompts, self.run = settings, constitution, prompts, run
        self.folder = run.path / ROWS
        self._plan: RevisionPlan | None = None

    def count_into(self, tally: RevisionTally) -> None:
        """Go through all batches, and count every row into the tally, which begins with what was left out."""
        together, total, kept = self.settings.prompts_at_once, len(self.prompts), self.run.folder
        done = self._there(together)
        with kept.progress("revise", total, done=min(total, done * together), silent=self.run.job.quiet):
            for number, start in enumerate(range(0, total, together)):
                group = self.prompts[start : start + together]
                for row in self._read(number) if number < done else self._write(number, group):
                    tally.add(row)
                at = start + len(group)
                kept.journal({"step": at, **{k: v for k, v in tally.as_dict().items() if isinstance(v, int)}})
                kept.show(at, {"revised": float(tally.revised), "malformed": float(tally.malformed)})
                if kept.stop_requested() and at < total:
                    raise Preempted(
                        f"stopped after {at:,} of {total:,} prompts as asked; the same command goes on from there"
                    )

    def _there(self, together: int) -> int:
        """How many batches are whole, from the first."""
        count = -(-len(self.prompts) // together)
        return next((number for number in range(count) if not self._path(number).is_file()), count)

    def _path(self, number: int) -> Path:
        return self.folder / f"batch-{number:05d}.jsonl"

    def _read(self, number: int) -> list[Critique]:
        return read_critiques(self._path(number))

    def _write(self, number: int, group: Sequence[Prompt]) -> list[Critique]:
        rows = revise_group(group, self.plan)
        self.folder.mkdir(exist_ok=True)
        text = "".join(json.dumps(to_dict(row), ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
        atomic_write_text(self._path(number), text)
        return rows

    @property
    def plan(self) -> RevisionPlan:
        """The models, loaded when the first batch needs them."""
        if self._plan is None:
            settings = self.settings
            answering = self._writer(settings.model, self.prompts)
            same = settings.reviser in (None, settings.model)
            self._plan = RevisionPlan(
                answering,
                answering if same else self._writer(str(settings.reviser), ()),
                self.constitution,
                sampling_of(settings.sampling),
                sampling_of(settings.reviser_sampling or settings.sampling),
                settings.rounds,
                settings.answers,
                settings.examples,
                settings.run.seed,
            )
        return self._plan

    def _writer(self, name: str, prompts: Sequence[Prompt]) -> Writer:
        if is_endpoint(name):
            return EndpointWriter.of(name, self.settings.endpoint, self.run)
        model = AnsweringModel.of(name, open_any_model(name, device=str(self.run.device)))
        settle_template(self.settings.prompts.template, model.tokeniser, prompts, self.run.notice)
        return LocalWriter(model)


def read_critiques(path: Path) -> list[Critique]:
    """The rows of one batch."""
    found: list[Critique] = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            row = from_dict(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{path}:{number} is damaged ({error}); delete the file, and it is written again"
            ) from error
        if not isinstance(row, Critique):
            raise DataError(f"{path}:{number} holds no critique; delete the file, and it is written again")
        found.append(row)
    return found
