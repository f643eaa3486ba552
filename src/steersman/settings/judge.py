"""Settings of AI judges, of the endpoints that they may stand behind, and of the command `judge`."""

from typing import Literal

from pydantic import Field, model_validator

from steersman.settings.base import Settings


class EndpointSettings(Settings):
    """A judge behind an endpoint that speaks the OpenAI API (model = "https://host/v1#name"). docs/judge.md."""

    api: Literal["chat", "completions"] = "chat"
    """Which of the two interfaces is asked: /chat/completions or /completions."""
    token_env: str | None = None
    """Environment variable with the key, sent as Authorization: Bearer. The key itself is never kept."""
    allow: list[str] = Field(default_factory=list)
    """Private addresses or networks that may be contacted, such as 127.0.0.1 or 10.0.0.0/8. Public ones always may."""
    at_once: int = Field(default=4, ge=1)
    """Maximum number of concurrent requests."""
    timeout: float = Field(default=60.0, gt=0)
    """Seconds to wait for a complete reply before the request is sent again."""
    patience: float = Field(default=900.0, gt=0)
    """Seconds without a usable reply after which the run stops (exit code 9). The same command resumes it later."""
    calls_per_minute: int | None = Field(default=None, ge=1)
    """At most this many requests a minute."""
    tokens_per_minute: int | None = Field(default=None, ge=1)
    """Tokens of requests and replies together. Requests wait until they fit."""
    max_calls: int | None = Field(default=None, ge=1)
    """Stop (exit code 9) before more calls than this, those of earlier starts of the run included."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Stop (exit code 9) before more tokens than this, by what the endpoint says it has used."""
    logprobs: int = Field(default=20, ge=0, le=100)
    """Alternatives to ask for at each token (top_logprobs). 0: none; the choice is then read from the text."""
    structured: bool = True
    """Ask for JSON with the choice (response_format) where there are no log-probs. Left out if it is refused."""


class JudgeSettings(Settings):
    """Who judges, by which principles, and how the verdict is read."""

    model: str | None = None
    """A folder, a run, a hub id or harbour:base; or an endpoint as URL#name, such as https://host/v1#judge-1. In a run
    that trains, the model that the run starts from if not given: the frozen reference, never the policy."""
    constitution: str = "general"
    """A constitution: a file, or the name of a shipped one."""
    mode: Literal["compare", "rate", "ask"] = "compare"
    """compare: which of two answers is better. rate: a grade for each answer. ask: a yes or no question about each
    answer."""
    principles: int | Literal["all"] = Field(default=1)
    """How many principles judge each pair, drawn by weight; `pool` makes one verdict of theirs."""
    pool: Literal["log_odds", "probability"] = "log_odds"
    """The verdict of several principles is their mean in log-odds, in which undecided ones hardly count, or in
    probabilities."""
    only: list[str] = Field(default_factory=list)
    """Use only the principles with these names."""
    questions: dict[str, str] = Field(default_factory=dict)
    """Questions about one answer, by the principle's name. mode=ask needs them and judges by these principles only;
    with mode=rate they replace the constitution's."""
    lower_is_better: list[str] = Field(default_factory=list)
    """With mode=ask or rate: principles whose question asks for a fault ("Was that rude?"), so that no is good; besides
    those that the constitution marks with rating_best = "low"."""
    replies: tuple[str, str] = ("Yes", "No")
    """With mode=ask: the beginnings of the two replies."""
    reasoning: bool = False
    """With mode=compare: the judge writes its reasons first, and the preference is clamped."""
    reasoning_tokens: int = Field(default=256, ge=1)
    """Longest reasons, in tokens."""
    clamp: tuple[float, float] = (0.4, 0.6)
    """Bounds of a preference after reasons, which make the choice nearly certain."""
    abstain_below: float = Field(default=0.0, ge=0, lt=1)
    """Leave out pairs whose preference differs from its opposite by less than this: 0.1 leaves out 45 to 55 %."""
    least_mass: float = Field(default=0.0, ge=0, lt=1)
    """Abstain where the choices together have less than this share of the next token's probability."""
    answers: str | None = None
    """As a scorer with mode=compare: a source of answers to compare with. If not given, `reference` answers."""
    reference: str | None = None
    """As a scorer with mode=compare: the model whose answers are compared with; in a run that trains, the model that
    the run starts from."""
    max_new_tokens: int = Field(default=128, ge=1)
    """Length of the reference's answers."""
    tokens_per_micro_batch: int | None = Field(default=None, ge=1)
    """Padded tokens per forward pass of a local judge. Changes memory and speed, not the verdicts."""
    seed: int = Field(default=0, ge=0)
    """Seed of the draw of principles and of the marks around model text."""
    endpoint: EndpointSettings = EndpointSettings()

    @model_validator(mode="after")
    def _consistent(self) -> "JudgeSettings":
        if self.principles != "all" and self.principles < 1:
            raise ValueError(f"principles is {self.principles}; expected 1 or more, or all")
        if self.reasoning and self.mode != "compare":
            raise ValueError(f"reasoning has no effect with mode={self.mode}; choose mode=compare, or leave it out")
        low, high = self.clamp
        if not 0 <= low <= 0.5 <= high <= 1:
            raise ValueError(f"clamp is {low}, {high}; expected bounds on both sides of 0.5, such as 0.4 and 0.6")
        if self.replies[0].strip() == self.replies[1].strip() or not all(text.strip() for text in self.replies):
            raise ValueError(f"replies are {list(self.replies)}; expected two different texts, such as Yes and No")
        return self

    @property
    def at_endpoint(self) -> bool:
        return is_endpoint(self.model)


def is_endpoint(model: str | None) -> bool:
    return model is not None and model.startswith(("http://", "https://"))
