"""Settings of scoring answers, and of a scorer wherever one is needed."""

from typing import Literal

from pydantic import Field

from steersman.settings.base import Settings


class SourceSettings(Settings):
    """Records that are only read."""

    source: str
    """A file, a folder, a hub id, or a named source such as harbour:answers."""
    format: str | None = None
    """Recognised by the field names unless given."""
    split: str | None = None
    limit: int | None = Field(default=None, ge=1)
    """Use at most so many records."""
    strict: bool = False
    """Stop at the first bad row instead of leaving it out."""


class ScorerSettings(Settings):
    path: str | list[str]
    """A reward model (folder, run or hub id), a classifier, or file.py:function; several are an ensemble."""
    belief: Literal["mean", "min", "pessimistic"] = "mean"
    """What an ensemble is taken to mean; pessimistic is the mean less `pessimism` standard deviations over its members."""
    pessimism: float = Field(default=1.0, ge=0)
    positive: str | None = None
    """The class of a classifier whose logit is the score, if the folder does not say."""
    output: Literal["logit", "probability"] = "logit"
    """What a classifier gives: the logit has no ceiling, the probability is for measuring."""
    reads: Literal["conversation", "pair", "answer"] | None = None
    """What a classifier is shown: the answer alone unless it has only one label."""
    normalised: bool = True
    """Give a reward model's scores in the scale that was measured on its reference answers."""
    max_length: int | None = Field(default=None, ge=2)
    """Cut longer conversations, below the length that the model was made for."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """auto is float32 on a processor and bfloat16 on a GPU."""
    tokens_per_micro_batch: int | None = Field(default=None, ge=1)
    """Padded tokens that go through the model at once; changes memory and speed, not the scores. Chosen by device if not given."""
    revision: str | None = None
    trust_remote_code: bool = False
    """Run code that the model's repository ships. Needs `revision`, so that it is known code that runs."""


class ScoreSettings(Settings):
    data: SourceSettings
    scorer: ScorerSettings
    name: str | None = None
    """The key under which each answer keeps its score; the scorer's own name if not given."""
    parts: bool = False
    """Keep what a score was made from too: each member's, their deviation, the raw score (as name/part)."""
    out: str
    """The file to write: .jsonl or .jsonl.gz."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
