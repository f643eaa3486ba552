"""`plan`: memory by role and time of a run, from its settings and the model's config.json. Nothing is loaded.

The numbers come from `costs`, for the moment of each stage that needs most. Without given lengths, the longest that the
settings allow are used, which makes the forecast a bound.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

import torch

from steersman.assemble.plan_shapes import shape_of_model, shape_of_scorer
from steersman.assemble.stages import STAGES
from steersman.costs.device import HALF, PREFILL, PlannedDevice
from steersman.costs.forecast import Forecast, MemoryPlan, TypicalLengths
from steersman.costs.memory import (
    FLOAT,
    STAYS,
    Bytes,
    Number,
    activations,
    at_work,
    keys_and_values,
    learning,
    libraries,
    logits,
    reading,
)
from steersman.costs.offload import offloaded_bytes, widest
from steersman.costs.shape import Shape
from steersman.costs.work import forward_operations, iteration_parts, training_operations
from steersman.execution.capacity import operations_a_second, tokens_in
from steersman.execution.machine import planned_device, usual_token_budget
from steersman.rollout.layout import FAMILIES as FUSED_DECODERS
from steersman.rollout.native import FREE_SHARE, KEPT_SHARE, ROWS
from steersman.settings.dpo import DpoSettings
from steersman.settings.parts import ComputeSettings, LoraSettings, ModelSettings
from steersman.settings.ppo import PpoSettings
from steersman.settings.reward import RewardSettings
from steersman.settings.sft import SftSettings

Supervised = SftSettings | RewardSettings | DpoSettings
LAYOUTS = ("adapters", "adapters-own-critic", "shared", "separate")
# Measured time over that of the operations alone, by stage, on a CPU (docs/plan.md).
SLOWER = {"collect": 2.5, "score": 1.5, "update": 1.4}
# Bytes of a quantised weight, with its block's scale (QLoRA, arXiv 2305.14314, section 3).
QUANTISED = {"4bit": 0.5 + 0.127 / 8, "8bit": 1.0}
# The longest row, as a multiple of the typical length.
LONGEST = 1.5


@dataclass(frozen=True)
class IterationSize:
    """How much one iteration of PPO samples: tokens of a prompt and of an answer, and how many answers."""

    prompt: int
    answer: int
    answers: int


def plan_ppo(
    settings: PpoSettings,
    lengths: TypicalLengths,
    there: float,
    *,
    memory_said: bool = False,
    parked: Collection[str] | None = None,
) -> MemoryPlan:
    """Forecasts for PPO (or RLOO) in the layout of the settings, and in the others for comparison.

    `there` is the memory of the device; with `memory_said` the user gave it. `parked` are the parts that are offloaded
    while they are not used: on a GPU those of the settings, elsewhere none.
    """
    device = planned_device(settings.run, settings.compute, there, memory_said=memory_said)
    if parked is None:
        parked = settings.compute.offload if device.is_gpu else ()
    shape = shape_of_model(settings.model)
    scorer = shape_of_scorer(settings.scorer)
    prompt = lengths.prompt or min(settings.prompts.max_length, shape.context or settings.prompts.max_length)
    answer = lengths.answer or settings.sampling.max_new_tokens
    answers = settings.prompts_per_iteration * settings.samples_per_prompt
    turns = settings.environment.max_turns if settings.environment is not None else 1
    said, beginning = answer, prompt
    if settings.environment is not None:
        # Observations are read, but not learned from: for the cost they are a longer prompt.
        observed = (turns - 1) * settings.environment.observation_tokens
        beginning = min(prompt, max(1, (shape.context or 2**62) - turns * answer - observed))
        prompt, answer = beginning + observed, turns * answer
    size = IterationSize(prompt, answer, answers)
    rate = _rate(shape, device)
    layouts = LAYOUTS if settings.advantage.has_critic else ("adapters", "shared")
    rank = (settings.model.lora or LoraSettings()).rank
    forecasts = []
    for layout in layouts:
        parts = iteration_parts(
            shape,
            layout=layout,
            epochs=settings.update.epochs,
            prompts=[prompt] * answers,
            answers=[answer] * answers,
            scorer=scorer,
            rank=rank,
        )
        parts["collect"] += _read_again(settings, shape, beginning, said, answers)
        seconds = rate and sum(operations * SLOWER[stage] for stage, operations in parts.items()) / rate
        memory, budget, away = _memory_of_ppo(settings, layout, shape, scorer, size, parked, device)
        chosen = layout == settings.layout
        forecasts.append(Forecast(f"layout={layout}", memory, budget, seconds, chosen, parked=away))
    what = f"{answers} answers" if turns == 1 else f"{answers} episodes of {turns} turns, together"
    before = f"prompts of {prompt}" if turns == 1 else f"prompts and observations of {prompt}"
    words = f"{what} of {answer} tokens to {before}, {settings.update.epochs} epochs"
    return MemoryPlan("ppo", shape, words, forecasts, there, device.kind)


def _rate(shape: Shape, device: PlannedDevice) -> float | None:
    """Operations a second of the device; None where it is not in this machine."""
    if device.is_gpu and not torch.cuda.is_available():
        return None
    return operations_a_second(shape.hidden, torch.device(device.kind))


def _read_again(settings: PpoSettings, shape: Shape, prompt: int, answer: int, answers: int) -> float:
    """Operations of reading the episode so far before each further turn: nothing is kept between turns."""
    if settings.environment is None:
        return 0.0
    turn = answer + settings.environment.observation_tokens
    before = [prompt + (number - 1) * turn + answer for number in range(1, settings.environment.max_turns)]
    return answers * forward_operations(shape, before, [0] * len(before), logits=False)


def _memory_of_ppo(
    settings: PpoSettings,
    layout: str,
    shape: Shape,
    scorer: Shape | None,
    size: IterationSize,
    parked: Collection[str],
    device: PlannedDevice,
) -> tuple[Bytes, int, Number]:
    """The most memory on the device at once, tokens of a micro-batch, and the offloaded memory of the CPU."""
    adapters, critic = layout.startswith("adapters"), settings.advantage.has_critic
    rank = (settings.model.lora or LoraSettings()).rank
    adapter = rank * shape.lora_parameters * (2 if layout == "adapters-own-critic" else 1) if adapters else 0
    learned = adapter if adapters else shape.parameters * (2 if layout == "separate" and critic else 1)
    models = learning(learned, settings.optimiser.states)
    movable = {"optimiser": Bytes(optimiser=models.optimiser)}
    if not adapters:
        each = HALF if settings.compute.reference_dtype == "bfloat16" else FLOAT
        movable["reference"] = Bytes(weights=each * shape.parameters)
    if layout == "separate":
        movable["critic"] = Bytes(weights=FLOAT * shape.parameters)
    if scorer is not None:
        movable["scorer"] = Bytes(weights=_bytes_of_scorer(settings, device) * scorer.parameters)
    base = _bytes_of_base(settings.model, shape, device, adapters=adapters)
    always = Bytes(weights=base, adapters=FLOAT * adapter, libraries=libraries("answers") + device.context)
    again = settings.model.gradient_checkpointing
    staying = sum((size for name, size in movable.items() if name not in parked), start=always)
    room = device.memory - staying.total
    budget = _budget(settings.compute, shape, device, room + staying.optimiser, models, checkpointing=again)
    prompt, answer, answers = size.prompt, size.answer, size.answers
    share, length = answer / (prompt + answer), prompt + answer
    step = -(-answers // settings.update.minibatches) * length
    tokens = step / -(-step // budget)
    # Activations are kept until the backward pass; a separate critic has its own after the policy's (in one process).
    kept = activations(shape, tokens, _longest(prompt) + answer, checkpointing=again, read=share)
    # The last turn is sampled after all turns before it.
    earlier = answer - answer // (settings.environment.max_turns if settings.environment is not None else 1)
    quantised = adapters and settings.model.quantise is not None
    answering = _memory_of_answering(settings, shape, prompt + earlier, answers, device, room, quantised=quantised)
    stays = STAYS
    if device.is_gpu:
        stays = float(answering.key_value + answering.decoder <= KEPT_SHARE * device.memory)
    learns = Bytes(
        activations=kept + at_work(shape, tokens) + (0 if adapters else device.casts(shape.matrices)),
        logits=logits(shape, tokens * share, device=device.kind, learns=not adapters),
        gradients=models.gradients,
        key_value=stays * answering.key_value,
        decoder=stays * answering.decoder,
    )
    read = min(budget, answers * length)
    reads = Bytes(activations=reading(shape, read), logits=logits(shape, read * share, device=device.kind))
    judges = Bytes() if scorer is None else Bytes(activations=reading(scorer, read))
    stages = {"update": learns, "read": reads, "collect": answering, "judge": judges}
    return always + widest(stages, movable, parked), budget, offloaded_bytes(movable, parked)


def _bytes_of_scorer(settings: PpoSettings, device: PlannedDevice) -> int:
    """Bytes of each of a reward model's weights: bf16 on a GPU (`loading.scorers`)."""
    dtype = settings.scorer.dtype
    return HALF if dtype in ("bfloat16", "float16") or (dtype == "auto" and device.is_gpu) else FLOAT


def _bytes_of_base(model: ModelSettings, shape: Shape, device: PlannedDevice, *, adapters: bool) -> Number:
    """The weights of the policy, or of the frozen base beneath adapters, which may be bf16 or quantised."""
    half = model.dtype in ("bfloat16", "float16") or (model.dtype == "auto" and adapters and device.is_gpu)
    each = HALF if half else FLOAT
    if model.quantise is None or not adapters:
        return each * shape.parameters
    # bitsandbytes quantises the matrices of the layers; embeddings and norms stay
    return QUANTISED[model.quantise] * shape.matrices + each * (shape.parameters - shape.matrices)


def _memory_of_answering(
    settings: PpoSettings,
    shape: Shape,
    prompt: int,
    answers: int,
    device: PlannedDevice,
    room: Number,
    *,
    quantised: bool,
) -> Bytes:
    """`room` is what the weights leave free: on a GPU the KV cache takes at most a share of it, and samples wait."""
    longest, new = _longest(prompt), settings.sampling.max_new_tokens
    slots = min(answers, ROWS[device.kind])
    if device.is_gpu:
        a_slot = keys_and_values(shape, 1, longest + new, each=device.sampled)
        slots = max(1, min(slots, int(FREE_SHARE * room / a_slot)))
        prefilled = min(slots * longest, max(PREFILL, longest))
    else:
        prefilled = slots * longest
    copies = shape.family in FUSED_DECODERS and not quantised
    return Bytes(
        key_value=keys_and_values(shape, 1, slots * (longest + new) + prefilled, each=device.sampled),
        decoder=device.decoder(shape) if copies else 0.0,
        logits=3.0 * FLOAT * slots * shape.vocabulary,
        activations=reading(shape, min(PREFILL, slots * longest)),
    )


def plan_supervised(
    settings: Supervised, lengths: TypicalLengths, there: float, *, memory_said: bool = False
) -> MemoryPlan:
    """Forecasts for methods that train on rows: as in the settings, and with adapters or checkpointing."""
    device = planned_device(settings.run, settings.train, there, memory_said=memory_said)
    shape = shape_of_model(settings.model)
    row = lengths.row or min(settings.data.max_length, shape.context or settings.data.max_length)
    pairs = isinstance(settings, RewardSettings | DpoSettings)
    rows = settings.train.batch_size * (2 if pairs else 1)
    rate = _rate(shape, device)
    rank = settings.model.lora.rank if settings.model.lora else None
    forecasts: list[Forecast] = []
    for name, used, again in _variants(rank, settings.model.gradient_checkpointing):
        memory, budget = _memory_of_rows(settings, shape, rows, row, device, rank=used, checkpointing=again)
        read = 1 if isinstance(settings, RewardSettings) else row
        needed = training_operations(
            shape, [row] * rows, [read] * rows, logits=not isinstance(settings, RewardSettings), rank=used
        )
        seconds = rate and needed * SLOWER["update"] * (4 / 3 if again else 1.0) / rate
        chosen = (used, again) == (rank, settings.model.gradient_checkpointing)
        forecasts.append(Forecast(name, memory, budget, seconds, chosen))
    method = next(stage.command for stage in STAGES.values() if stage.schema is type(settings))
    return MemoryPlan(method, shape, f"{rows} rows of {row} tokens a step", forecasts, there, device.kind)


def _variants(rank: int | None, checkpointing: bool) -> list[tuple[str, int | None, bool]]:
    """Variants by name: rank of the adapters (None: full fine-tuning), and gradient checkpointing."""
    ranks = dict.fromkeys((None, rank or 16))
    return [
        (
            ("full fine-tuning" if one is None else f"model.lora.rank={one}")
            + (", model.gradient_checkpointing=true" if again else ""),
            one,
            again,
        )
        for one in ranks
        for again in dict.fromkeys((False, True, checkpointing))
    ]


def _memory_of_rows(
    settings: Supervised,
    shape: Shape,
    rows: int,
    row: int,
    device: PlannedDevice,
    *,
    rank: int | None,
    checkpointing: bool,
) -> tuple[Bytes, int]:
    """The most memory at once, and tokens of a micro-batch."""
    adapter = 0 if rank is None else rank * shape.lora_parameters
    headless = isinstance(settings, RewardSettings)
    weights = shape.parameters - (0 if shape.tied or not headless else shape.embedding)
    models = learning(adapter or weights, settings.optimiser.states)
    base = _bytes_of_base(settings.model, replace(shape, parameters=weights), device, adapters=rank is not None)
    always = Bytes(
        weights=base,
        adapters=FLOAT * adapter,
        libraries=libraries("judged" if headless else "rows") + device.context,
    )
    free = device.memory - always.total
    budget = _budget(settings.train, shape, device, free, models, checkpointing=checkpointing)
    tokens = rows * row / -(-rows * row // budget)
    read = 1 / row if headless else 1.0
    kept = activations(shape, tokens, _longest(row), checkpointing=checkpointing, read=read)
    casts = device.casts(shape.matrices) if rank is None else 0
    passes = Bytes(
        activations=kept + at_work(shape, tokens) + casts,
        logits=0.0 if headless else logits(shape, tokens, device=device.kind, learns=rank is None),
    )
    return always + models + passes, budget


def _longest(typical: int) -> int:
    return round(typical * LONGEST)


def _budget(
    compute: ComputeSettings,
    shape: Shape,
    device: PlannedDevice,
    free: Number,
    learns: Bytes,
    *,
    checkpointing: bool,
) -> int:
    """Tokens of a micro-batch: on a GPU as many as fit what the weights leave free, where the settings name none."""
    if compute.tokens_per_micro_batch is not None:
        return compute.tokens_per_micro_batch
    if device.is_gpu:
        return tokens_in(float(free), shape, learns, checkpointing=checkpointing)
    return usual_token_budget(device.kind, shape.hidden)
