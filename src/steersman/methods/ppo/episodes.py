"""Stage 1 with an environment: prompts -> episodes of several turns, each of which is one sample.

The model's turns are sampled as answers are. The environment's observations stand between them in the row that the
models read, and are no targets: they are masked from losses, KL and advantages.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from steersman.batches import TokenRow
from steersman.errors import UsageError
from steersman.methods.ppo.records import Sample
from steersman.parallel.world import World
from steersman.records import Prompt
from steersman.reward.environment import End, Environment, begin, take_turn
from steersman.reward.scorer import Score
from steersman.rollout.batch import Rollout
from steersman.rollout.engine import Engine, Sampling
from steersman.rollout.language import Language


@runtime_checkable
class SpeaksInTurns(Protocol):
    """A language that can put an environment's observation between two turns of the model."""

    def encode_observation(self, prompt: Prompt, text: str, ended_by: int) -> Sequence[int]: ...


@dataclass(frozen=True)
class Playing:
    """How episodes are played. `unfinished_score` is that of an episode that did not end within `max_turns`; None where
    a scorer scores the episodes."""

    make: Callable[[], Environment]
    max_turns: int
    unfinished_score: float | None
    world: World


@dataclass
class Episode:
    """One episode so far: `ids` and `mask` of everything after the prompt, the sampled turns, and the transcript."""

    place: int
    number: int
    prompt: Prompt
    prompt_ids: tuple[int, ...]
    ids: list[int] = field(default_factory=list[int])
    mask: list[bool] = field(default_factory=list[bool])
    turns: list[Rollout] = field(default_factory=list[Rollout])
    transcript: str = ""
    offsets: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    end: End | None = None

    def take(self, turn: Rollout, text: str, offsets: Sequence[tuple[int, int]]) -> None:
        """Add a turn of the model."""
        self.ids += turn.ids
        self.mask += [True] * len(turn.ids)
        start = len(self.transcript)
        self.offsets += [(start + min(a, len(text)), start + min(b, len(text))) for a, b in offsets]
        self.turns.append(turn)
        self.transcript += text

    def see(self, observation: str, ids: Sequence[int]) -> None:
        """Add the environment's reply."""
        self.ids += ids
        self.mask += [False] * len(ids)
        self.transcript += f"\n[observation] {observation}\n"

    def sample(self, unfinished_score: float | None) -> Sample:
        turns = self.turns
        rollout = replace(
            turns[-1],
            prompt=self.place,
            sample=self.number,
            prompt_ids=self.prompt_ids,
            ids=tuple(token for turn in turns for token in turn.ids),
            log_probs=torch.cat([turn.log_probs for turn in turns]),
            sampling_log_probs=torch.cat([turn.sampling_log_probs for turn in turns]),
            finish_reason=turns[-1].finish_reason if self.end is not None else "length",
            seed=turns[0].seed,
            entropies=_joined([turn.entropies for turn in turns]),
            values=_joined([turn.values for turn in turns]),
        )
        whole = torch.tensor([*self.prompt_ids, *self.ids])
        mask = torch.tensor([False] * len(self.prompt_ids) + self.mask)
        score = None if unfinished_score is None else self._score(unfinished_score)
        return Sample(
            self.prompt,
            rollout,
            self.transcript,
            TokenRow(whole, mask),
            given_score=score,
            offsets=tuple(self.offsets),
            turns=len(turns),
        )

    def _score(self, unfinished_score: float) -> Score:
        if self.end is None:
            return Score(unfinished_score)
        assert self.end.score is not None
        return Score(self.end.score)


def play(
    prompts: Sequence[Prompt],
    engine: Engine,
    language: Language,
    playing: Playing,
    sampling: Sampling,
    seeds: Sequence[Sequence[int]],
) -> list[Sample]:
    """An episode for each seed of each prompt. A turn's seed is the episode's plus the turn's number."""
    assert isinstance(language, SpeaksInTurns)
    episodes = [
        Episode(place, number, prompt, tuple(language.encode(prompt)))
        for place, prompt in enumerate(prompts)
        for number in range(len(seeds[place]))
    ]
    environments: dict[int, Environment] = {}
    for turn in range(playing.max_turns):
        going = [i for i, episode in enumerate(episodes) if episode.end is None]
        if not going:
            break
        contexts = [[*episodes[i].prompt_ids, *episodes[i].ids] for i in going]
        of_turn = [(seeds[episodes[i].place][episodes[i].number] + turn) % 2**63 for i in going]
        drawn = engine.generate(contexts, sampling, seeds=of_turn)
        texts: dict[int, str] = {}
        for rollout in drawn:
            i = going[rollout.prompt]
            texts[i] = language.text_of(rollout)
            episodes[i].take(rollout, texts[i], language.offsets_of(rollout))
        for i, reply in _replies(episodes, environments, texts, playing).items():
            if isinstance(reply, End):
                episodes[i].end = _checked(reply, playing)
            elif turn + 1 < playing.max_turns:
                last = episodes[i].ids[-1]
                episodes[i].see(reply, language.encode_observation(episodes[i].prompt, reply, last))
    return [episode.sample(playing.unfinished_score) for episode in episodes]


def _replies(
    episodes: Sequence[Episode], environments: dict[int, Environment], texts: dict[int, str], playing: Playing
) -> dict[int, str | End]:
    """The environments' replies to these turns. Each process has every n-th environment; all get all replies."""
    world = playing.world

    def mine() -> dict[int, str | End]:
        found: dict[int, str | End] = {}
        for i, text in texts.items():
            if i % world.size != world.rank:
                continue
            if i not in environments:
                environments[i] = begin(playing.make, episodes[i].prompt)
            found[i] = take_turn(environments[i], episodes[i].prompt, text)
        return found

    return {i: reply for part in world.together("asking the environment", mine) for i, reply in part.items()}


def _checked(end: End, playing: Playing) -> End:
    wanted = playing.unfinished_score is not None
    if wanted and end.score is None:
        raise UsageError(
            "the environment's step ended an episode with None, and scorer=environment takes its score; return a "
            "number, or choose another scorer"
        )
    if not wanted and end.score is not None:
        raise UsageError(
            f"the environment's step ended an episode with the score {end.score:g}, and another scorer is set; set "
            "scorer=environment, or return None"
        )
    return end


def _joined(columns: Sequence[Tensor | None]) -> Tensor | None:
    known = [column for column in columns if column is not None]
    return torch.cat(known) if len(known) == len(columns) else None


def turns_of(samples: Sequence[Sample]) -> dict[str, float]:
    """The journal's mean number of turns; empty where no episode has a second one."""
    turns = [sample.turns for sample in samples]
    return {"turns": sum(turns) / len(turns)} if max(turns) > 1 else {}
