"""A task small enough to enumerate: V tokens, L of them, a random reference and a random reward. The optimum is known
exactly.

J* = beta log E_ref[exp(r / beta)] and pi*(y) = ref(y) exp(r(y) / beta) / Z; for any policy J* - J = beta KL(pi || pi*).
"""

import copy
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from steersman.batches import TokenBatch, TokenRow, pad_rows
from steersman.maths.kl import full_kl, top_k_kl
from steersman.maths.tokens import gather_at
from steersman.methods.ppo.collect import Asking
from steersman.methods.ppo.loop import PpoOutcome, ppo
from steersman.methods.ppo.memory import Memory
from steersman.methods.ppo.parts import Parts
from steersman.methods.ppo.records import collate
from steersman.methods.ppo.roles import ModelActors
from steersman.methods.ppo.score import ForwardSetup
from steersman.models.heads import ValueHead
from steersman.models.loading import load_causal
from steersman.parallel.world import World
from steersman.records import Prompt
from steersman.reward.scorer import Item, Score
from steersman.rollout.batch import Rollout, RolloutBatch
from steersman.rollout.engine import Sampling
from steersman.rollout.native import DecodingOptions, NativeEngine
from steersman.rollout.request import Ending
from steersman.settings.ppo import PpoSettings
from steersman.train.core import Learner
from steersman.train.optim import Optimisation
from steersman.train.plan import Batching
from steersman.train.precision import autocast

PROMPT = (1, 0)
"""Two tokens that differ: after 0 alone a transformer with rotary positions could not tell 0 from 0 0, all values being
equal."""


class Problem:
    """The reference's logits for every prefix, and a reward for every sequence, standardised under the reference."""

    def __init__(self, vocabulary: int, length: int, seed: int, reference_logits: Tensor | None = None) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.vocabulary, self.length = vocabulary, length
        self.prefixes = sum(vocabulary**t for t in range(length))
        self.sequences = torch.tensor(list(itertools.product(range(vocabulary), repeat=length)))
        drawn = torch.randn(self.prefixes, vocabulary, generator=generator)
        self.reference_logits = drawn if reference_logits is None else reference_logits
        reward = torch.randn(len(self.sequences), generator=generator, dtype=torch.float64)
        reference = self.sequence_log_probs(self.reference_logits).exp()
        mean = (reference * reward).sum()
        self.reward = (reward - mean) / (reference * (reward - mean) ** 2).sum().sqrt()

    def prefix_index(self, ids: Tensor) -> Tensor:
        """The number of the prefix before each token of [batch, time]."""
        found = torch.zeros_like(ids)
        for t in range(1, ids.shape[1]):
            offset = sum(self.vocabulary**s for s in range(t))
            within = sum(ids[:, s] * self.vocabulary ** (t - 1 - s) for s in range(t))
            found[:, t] = offset + within
        return found

    def sequence_log_probs(self, logits: Tensor) -> Tensor:
        steps = logits.double().log_softmax(-1)[self.prefix_index(self.sequences)]
        return steps.gather(-1, self.sequences[..., None])[..., 0].sum(1)

    def optimum(self, beta: float) -> tuple[float, float, Tensor]:
        """J*, KL*, and log pi*."""
        reference = self.sequence_log_probs(self.reference_logits)
        log_star = reference + self.reward / beta
        log_z = torch.logsumexp(log_star, 0)
        log_star = log_star - log_z
        return float(beta * log_z), float((log_star.exp() * (log_star - reference)).sum()), log_star

    def judge(self, log_probs: Tensor, beta: float) -> tuple[float, float]:
        """J and KL of a policy given by its sequence log-probabilities."""
        reference = self.sequence_log_probs(self.reference_logits)
        probs = log_probs.exp()
        kl = float((probs * (log_probs - reference)).sum())
        return float((probs * self.reward).sum()) - beta * kl, kl


def asked(problem: Problem) -> Tensor:
    """The prompt and each sequence as its answer."""
    return torch.cat([torch.tensor(PROMPT).expand(len(problem.sequences), -1), problem.sequences], 1)


def rows_of(problem: Problem) -> list[TokenRow]:
    """Every sequence as an answer to the prompt."""
    return [TokenRow(row, torch.arange(len(row)) >= len(PROMPT)) for row in asked(problem)]


class Tabular(nn.Module):
    """Policy and values as tables over prefixes of answers: PPO with nothing approximated."""

    def __init__(self, problem: Problem, *, critic: bool = True) -> None:
        super().__init__()
        self.problem = problem
        self.logits = nn.Parameter(problem.reference_logits.clone())
        self.values = nn.Parameter(torch.zeros(problem.prefixes)) if critic else None

    def _prefixes(self, batch: TokenBatch) -> Tensor:
        answers = slice(len(PROMPT), None)
        return self.problem.prefix_index(batch.ids[:, answers])[batch.loss_mask[:, answers]]

    def policy(self, batch: TokenBatch, *, temperature: float, with_entropy: bool):
        steps = (self.logits[self._prefixes(batch)] / temperature).log_softmax(-1)
        chosen = steps.gather(-1, gather_at(batch.ids, batch.loss_mask)[:, None])[:, 0]
        entropies = -(steps.exp() * steps).sum(-1) if with_entropy else None
        return chosen, entropies, None if self.values is None else self.values[self._prefixes(batch)]

    def reference(self, batch: TokenBatch, *, temperature: float) -> Tensor:
        steps = (self.problem.reference_logits[self._prefixes(batch)] / temperature).log_softmax(-1)
        return steps.gather(-1, gather_at(batch.ids, batch.loss_mask)[:, None])[:, 0]

    def exact_kl(self, batch: TokenBatch, *, temperature: float, top_k: int | None) -> Tensor:
        where = self._prefixes(batch)
        ours, theirs = self.logits[where] / temperature, self.problem.reference_logits[where] / temperature
        return full_kl(ours, theirs) if top_k is None else top_k_kl(ours, theirs, top_k)

    def pretraining(self, batch: TokenBatch) -> Tensor:
        return self.policy(batch, temperature=1.0, with_entropy=False)[0]


def transformer(vocabulary: int, length: int, seed: int, folder: Path) -> tuple[Problem, ModelActors, NativeEngine]:
    """The same task for the product's own models: a small Llama is the reference, its copy learns, the engine
    samples."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=16,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # logits are then about N(0, 1), and differ between prefixes as a table's would
            if parameter.ndim > 1:
                parameter.normal_(0.0, 1.0 if "embed" in name else parameter.shape[1] ** -0.5)
    model.save_pretrained(folder)
    backbone = load_causal(folder, dtype=torch.float32, device="cpu")
    problem = Problem(vocabulary, length, seed)
    with torch.no_grad():
        logits = model(input_ids=asked(problem)).logits[:, len(PROMPT) - 1 : -1]
    table = torch.zeros(problem.prefixes, vocabulary)
    table[problem.prefix_index(problem.sequences)] = logits
    actors = ModelActors(
        backbone,
        ValueHead(64),
        policy_adapter=None,
        value_adapter=None,
        critic=None,
        frozen=copy.deepcopy(backbone).requires_grad_(False),
    )
    return (
        Problem(vocabulary, length, seed, table),
        actors,
        NativeEngine(backbone, Ending(()), options=DecodingOptions(rows=512)),
    )


def policy_log_probs(problem: Problem, actors: Any) -> Tensor:
    """Log-probability of every sequence under the policy, through the actors themselves."""
    rows = rows_of(problem)
    with torch.no_grad():
        found = actors.policy(pad_rows(rows, pad_id=0), temperature=1.0, with_entropy=False)[0]
    return found.double().view(len(rows), -1).sum(1)


class TabularEngine:
    version = 0

    def __init__(self, actors: Tabular) -> None:
        self.actors = actors

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        samples: int = 1,
        seeds: Any,
        on_token: Any = None,
    ) -> RolloutBatch:
        problem = self.actors.problem
        count = len(prompts) * samples
        generator = torch.Generator().manual_seed(seeds[0] % 2**62)
        ids = torch.zeros(count, problem.length, dtype=torch.long)
        log_probs = torch.zeros(count, problem.length)
        with torch.no_grad():
            for t in range(problem.length):
                steps = (self.actors.logits[problem.prefix_index(ids)[:, t]] / sampling.temperature).log_softmax(-1)
                ids[:, t] = torch.multinomial(steps.exp(), 1, generator=generator)[:, 0]
                log_probs[:, t] = steps.gather(-1, ids[:, t : t + 1])[:, 0]
        return RolloutBatch.of(
            Rollout(
                i // samples,
                i % samples,
                tuple(prompts[i // samples]),
                tuple(ids[i].tolist()),
                log_probs[i],
                log_probs[i],
                "length",
                0,
                0,
            )
            for i in range(count)
        )

    def load_weights(self, state: Mapping[str, Tensor], version: int) -> None:
        self.actors.load_state_dict(dict(state))


class ToyScorer:
    name = "toy"

    def __init__(self, problem: Problem) -> None:
        self.known = {
            "".join(map(str, s)): float(r) for s, r in zip(problem.sequences.tolist(), problem.reward, strict=True)
        }

    def score(self, items: Sequence[Item]) -> list[Score]:
        return [Score(self.known[text]) for _, text in items]


class ToyLanguage:
    def encode(self, prompt: Prompt) -> list[int]:
        return list(PROMPT)

    def encode_observation(self, prompt: Prompt, text: str, ended_by: int) -> list[int]:
        return [int(token) for token in text]

    def text_of(self, rollout: Rollout) -> str:
        return "".join(map(str, rollout.ids))

    def offsets_of(self, rollout: Rollout) -> list[tuple[int, int]]:
        return [(i, i + 1) for i in range(len(rollout.ids))]


class KeepsNothing:
    """A keeper that remembers the journal in memory."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.notices: list[str] = []

    def journal(self, row: Mapping[str, Any]) -> None:
        self.rows.append(dict(row))

    def save(self, step: int, snapshot: Any) -> None:
        pass

    def save_best(self, step: int, snapshot: Any, measure: str, value: float) -> None:
        pass

    def save_believed(self, step: int, snapshot: Any) -> None:
        pass

    def mark_best_again(self, step: int, measure: str, value: float) -> None:
        pass

    def best_weights(self, step: int) -> None:
        return None

    def save_due(self) -> bool:
        return False

    def stop_requested(self) -> bool:
        return False

    def show(self, step: int, numbers: Mapping[str, float]) -> None:
        pass

    def notice(self, words: str) -> None:
        self.notices.append(words)

    def samples(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        pass

    def held_out_answers(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        pass

    def findings(self, rows: Sequence[Mapping[str, Any]]) -> None:
        pass


def toy_settings(
    problem: Problem, *, iterations: int, batch: int, beta: float, seed: int = 0, **groups: Any
) -> PpoSettings:
    values: dict[str, Any] = {
        "model": {"path": "toy"},
        "prompts": {"source": "toy", "held_out": None},
        "sampling": {"max_new_tokens": problem.length},
        "scorer": {"path": "toy"},
        "iterations": iterations,
        "prompts_per_iteration": 1,
        "samples_per_prompt": batch,
        "run": {"out": "toy", "seed": seed, "checkpoint_every": 10**6},
        **groups,
    }
    values["kl"] = {"coefficient": beta, **groups.get("kl", {})}
    return PpoSettings.model_validate(values)


def run_toy(
    problem: Problem,
    settings: PpoSettings,
    actors: Any,
    engine: Any,
    *,
    learning_rate: float,
    value_rate: float,
    keeper: KeepsNothing | None = None,
    budget: int = 10**6,
    held_out: int = 0,
    memory: Memory | None = None,
    watch: Any = None,
    scorer: Any = None,
    environment: Any = None,
) -> PpoOutcome:
    """The product's own loop on the toy; `held_out` is how many prompts it is measured on."""
    cpu = torch.device("cpu")
    # none, where there is no critic
    values = [p for name, p in actors.named_parameters() if "value" in name]
    others = [p for name, p in actors.named_parameters() if "value" not in name and p.requires_grad]
    optimiser = torch.optim.Adam(
        [{"params": others, "lr": learning_rate}, {"params": values, "lr": value_rate}], eps=1e-5
    )
    memory = memory or Memory(settings.kl.coefficient)
    learner = Learner(
        actors,
        Optimisation(
            optimiser,
            rate_at=lambda step: 1.0 - memory.iteration / settings.iterations,
            max_grad_norm=settings.optimiser.max_grad_norm,
        ),
        Batching(lambda units: collate(units, pad_id=0, device=cpu, pad_multiple=1), budget),
        World.alone(),
        precision=autocast("fp32", cpu),
        notice=print,
    )
    parts = Parts(
        actors=actors,
        engine=engine,
        scorer=scorer or ToyScorer(problem),
        language=ToyLanguage(),
        learner=learner,
        forward=ForwardSetup(
            settings.sampling.temperature,
            budget,
            lambda rows: pad_rows(rows, pad_id=0),
            autocast("fp32", cpu),
            World.alone(),
        ),
        prompts=[Prompt(text="?")],
        held_out=[Prompt(text="?")] * held_out,
        pretraining=None,
        asking=Asking(
            Sampling(problem.length, settings.sampling.temperature),
            settings.samples_per_prompt,
            settings.run.seed,
            "train",
            environment,
        ),
        keeper=keeper or KeepsNothing(),
        world=World.alone(),
        watch=watch,
    )
    return ppo(parts, settings, memory)
