"""Settings of critique and revision by a constitution."""

from pydantic import Field

from steersman.settings.base import Settings
from steersman.settings.evaluate import PlaceSettings
from steersman.settings.judge import EndpointSettings
from steersman.settings.score import SourceSettings


class WritingSettings(Settings):
    """How answers, critiques and revisions are sampled."""

    max_new_tokens: int = Field(default=256, ge=1)
    """Longest answer, in tokens."""
    temperature: float = Field(default=1.0, ge=0)
    """0 is greedy decoding."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Sample from the most likely tokens whose probabilities add up to this."""
    top_k: int = Field(default=0, ge=0)
    """Sample from this many most likely tokens; 0 is off."""
    min_p: float = Field(default=0.0, ge=0, le=1)
    """Leave out tokens less likely than this share of the most likely one."""
    repetition_penalty: float = Field(default=1.0, gt=0)
    """Above 1: tokens that came before become less likely."""
    stop: list[str] = Field(default_factory=list)
    """Stop strings: a text ends before the first of them."""


class ReviseSettings(Settings):
    model: str
    """The model that answers the prompts: a folder, a run, a hub id or harbour:base."""
    reviser: str | None = None
    """The model that criticises and revises; the answering model if not given. Also an endpoint that speaks the OpenAI
    API, as URL#name."""
    endpoint: EndpointSettings = EndpointSettings()
    """How a reviser behind an endpoint is asked."""
    prompts: SourceSettings
    """Red-team prompts: records of any kind that has prompts. Duplicate prompts are used once."""
    constitution: str = "general"
    """A TOML file of principles, or a shipped one: general, harbour."""
    rounds: int = Field(default=1, ge=1, le=4)
    """Rounds of critique and revision. Each has a principle of its own and revises the revision before it."""
    answers: int = Field(default=1, ge=1)
    """Answers per prompt, each revised by principles of its own."""
    examples: int = Field(default=0, ge=0, le=32)
    """Worked examples of the constitution that the critic and the reviser are shown first."""
    sampling: WritingSettings = WritingSettings()
    reviser_sampling: WritingSettings | None = None
    """Another way to sample critiques and revisions, such as a lower temperature; that of the answers if not given."""
    prompts_at_once: int = Field(default=64, ge=1)
    """Prompts per batch. At most one batch is lost when the process is killed."""
    run: PlaceSettings
