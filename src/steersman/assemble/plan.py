"""`plan`: memory by role and time of a run, from its settings and the model's config.json. Nothing is loaded.

The numbers come from `costs`, for the moment of each stage that needs most. Without given lengths, the longest that the
settings allow are used, which makes the forecast a bound.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from steersman.assemble.stages import STAGES
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
from steersman.costs.shape import Shape, shape_of_folder
from steersman.costs.work import forward_operations, iteration_parts, training_operations
from steersman.errors import ModelError
from steersman.execution.capacity import operations_a_second
from steersman.execution.machine import resolve_device, usual_token_budget
from steersman.loading.language_model import base_of, model_path
from steersman.loading.scorers import places_of
from steersman.rollout.layout import FAMILIES as FUSED_DECODERS
from steersman.rollout.native import ROWS
from steersman.runs.model_folder import model_folder
from steersman.settings.dpo import DpoSettings
from steersman.settings.parts import ComputeSettings, LoraSettings, ModelSettings, RunSettings
from steersman.settings.ppo import PpoSettings
from steersman.settings.reward import RewardSettings
from steersman.settings.score import ScorerSettings
from steersman.settings.sft import SftSettings

Supervised = SftSettings | RewardSettings | DpoSettings
LAYOUTS = ("adapters", "adapters-own-critic", "shared", "separate")
# Measured time over that of the operations alone, by stage, on a CPU (docs/plan.md).
SLOWER = {"collect": 2.5, "score": 1.5, "update": 1.4}
# Bytes of a weight in half precision; of a quantised one, with its block's scale (QLoRA, arXiv 2305.14314, section 3).
HALF = 2
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
    settings: PpoSettings, lengths: TypicalLengths, there: float, *, parked: Collection[str] = ()
) -> MemoryPlan:
    """Forecasts for PPO (or RLOO) in the layout of the settings, and in the others for comparison.

    `parked` are the parts that are offloaded while they are not used.
    """
    shape = shape_of_model(settings.model)
    scorer = _shape_of_scorer(settings.scorer)
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
    rate = operations_a_second(shape.hidden, resolve_device(settings.run.device))
    layouts = LAYOUTS if settings.advantage.estimator == "gae" else ("adapters", "shared")
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
        seconds = sum(operations * SLOWER[stage] for stage, operations in parts.items()) / rate
        memory, away = _memory_of_ppo(settings, layout, shape, scorer, size, parked)
        forecasts.append(Forecast(f"layout={layout}", memory, seconds, chosen=layout == settings.layout, parked=away))
    what = f"{answers} answers" if turns == 1 else f"{answers} episodes of {turns} turns, together"
    before = f"prompts of {prompt}" if turns == 1 else f"prompts and observations of {prompt}"
    words = f"{what} of {answer} tokens to {before}, {settings.update.epochs} epochs"
    return MemoryPlan("ppo", shape, words, forecasts, there)


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
) -> tuple[Bytes, Number]:
    """The most memory on the device at once, and the offloaded memory of the CPU."""
    adapters, critic = layout.startswith("adapters"), settings.advantage.estimator == "gae"
    rank = (settings.model.lora or LoraSettings()).rank
    adapter = rank * shape.lora_parameters * (2 if layout == "adapters-own-critic" else 1) if adapters else 0
    models = (
        learning(adapter) if adapters else learning(shape.parameters * (2 if layout == "separate" and critic else 1))
    )
    movable = {"optimiser": Bytes(optimiser=models.optimiser)}
    if not adapters:
        each = 2 if settings.compute.reference_dtype == "bfloat16" else FLOAT
        movable["reference"] = Bytes(weights=each * shape.parameters)
    if layout == "separate":
        movable["critic"] = Bytes(weights=FLOAT * shape.parameters)
    if scorer is not None:
        movable["scorer"] = Bytes(weights=_bytes_of_scorer(settings) * scorer.parameters)
    budget = _budget(settings.compute, settings.run, shape)
    prompt, answer, answers = size.prompt, size.answer, size.answers
    share, length = answer / (prompt + answer), prompt + answer
    step = -(-answers // settings.update.minibatches) * length
    tokens = step / -(-step // budget)
    # Activations are kept until the backward pass; a separate critic has its own after the policy's (in one process).
    again, device = settings.model.gradient_checkpointing, resolve_device(settings.run.device).type
    kept = activations(shape, tokens, _longest(prompt) + answer, checkpointing=again, read=share)
    # The last turn is sampled after all turns before it.
    earlier = answer - answer // (settings.environment.max_turns if settings.environment is not None else 1)
    answering = _memory_of_answering(settings, shape, prompt + earlier, min(answers, ROWS["cpu"]))
    learns = Bytes(
        activations=kept + at_work(shape, tokens),
        logits=logits(shape, tokens * share, device=device, learns=not adapters),
        gradients=models.gradients,
        key_value=STAYS * answering.key_value,
        decoder=STAYS * answering.decoder,
    )
    read = min(budget, answers * length)
    reads = Bytes(activations=reading(shape, read), logits=logits(shape, read * share, device=device))
    judges = Bytes() if scorer is None else Bytes(activations=reading(scorer, read))
    always = Bytes(
        weights=_bytes_of_base(settings, shape, adapters=adapters),
        adapters=FLOAT * adapter,
        libraries=libraries("answers"),
    )
    stages = {"update": learns, "read": reads, "collect": answering, "judge": judges}
    return always + widest(stages, movable, parked), offloaded_bytes(movable, parked)


def _bytes_of_scorer(settings: PpoSettings) -> int:
    """Bytes of each of a reward model's weights: bf16 on a GPU (`loading.scorers`)."""
    on_gpu = resolve_device(settings.run.device).type == "cuda"
    dtype = settings.scorer.dtype
    return HALF if dtype in ("bfloat16", "float16") or (dtype == "auto" and on_gpu) else FLOAT


def _bytes_of_base(settings: PpoSettings | Supervised, shape: Shape, *, adapters: bool) -> Number:
    """The weights of the policy, or of the frozen base beneath adapters, which may be bf16 or quantised."""
    model = settings.model
    on_gpu = resolve_device(settings.run.device).type == "cuda"
    half = model.dtype in ("bfloat16", "float16") or (model.dtype == "auto" and adapters and on_gpu)
    each = HALF if half else FLOAT
    if model.quantise is None or not adapters:
        return each * shape.parameters
    # bitsandbytes quantises the matrices of the layers; embeddings and norms stay
    return QUANTISED[model.quantise] * shape.matrices + each * (shape.parameters - shape.matrices)


def _memory_of_answering(settings: PpoSettings, shape: Shape, prompt: int, slots: int) -> Bytes:
    longest = _longest(prompt)
    remembered = slots * (2 * longest + settings.sampling.max_new_tokens)
    return Bytes(
        key_value=keys_and_values(shape, 1, remembered),
        decoder=FLOAT * (shape.matrices + shape.embedding) if shape.family in FUSED_DECODERS else 0.0,
        logits=3.0 * FLOAT * slots * shape.vocabulary,
        activations=reading(shape, min(4096, slots * longest)),
    )


def plan_supervised(settings: Supervised, lengths: TypicalLengths, there: float) -> MemoryPlan:
    """Forecasts for methods that train on rows: as in the settings, and with adapters or checkpointing."""
    shape = shape_of_model(settings.model)
    row = lengths.row or min(settings.data.max_length, shape.context or settings.data.max_length)
    pairs = isinstance(settings, RewardSettings | DpoSettings)
    rows = settings.train.batch_size * (2 if pairs else 1)
    rate = operations_a_second(shape.hidden, resolve_device(settings.run.device))
    rank = settings.model.lora.rank if settings.model.lora else None
    forecasts: list[Forecast] = []
    for name, used, again in _variants(rank, settings.model.gradient_checkpointing):
        memory = _memory_of_rows(settings, shape, rows, row, rank=used, checkpointing=again)
        read = 1 if isinstance(settings, RewardSettings) else row
        needed = training_operations(
            shape, [row] * rows, [read] * rows, logits=not isinstance(settings, RewardSettings), rank=used
        )
        seconds = needed * SLOWER["update"] * (4 / 3 if again else 1.0) / rate
        chosen = (used, again) == (rank, settings.model.gradient_checkpointing)
        forecasts.append(Forecast(name, memory, seconds, chosen))
    method = next(stage.command for stage in STAGES.values() if stage.schema is type(settings))
    return MemoryPlan(method, shape, f"{rows} rows of {row} tokens a step", forecasts, there)


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
    settings: Supervised, shape: Shape, rows: int, row: int, *, rank: int | None, checkpointing: bool
) -> Bytes:
    adapter = 0 if rank is None else rank * shape.lora_parameters
    headless = isinstance(settings, RewardSettings)
    weights = shape.parameters - (0 if shape.tied or not headless else shape.embedding)
    models = learning(adapter or weights)
    tokens = rows * row / -(-rows * row // _budget(settings.train, settings.run, shape))
    read, device = 1 / row if headless else 1.0, resolve_device(settings.run.device).type
    kept = activations(shape, tokens, _longest(row), checkpointing=checkpointing, read=read)
    return models + Bytes(
        weights=_bytes_of_base(settings, replace(shape, parameters=weights), adapters=rank is not None),
        adapters=FLOAT * adapter,
        activations=kept + at_work(shape, tokens),
        logits=0.0 if headless else logits(shape, tokens, device=device, learns=rank is None),
        libraries=libraries("judged" if headless else "rows"),
    )


def shape_of_model(settings: ModelSettings) -> Shape:
    """The model's shape from its folder, a run's folder, or a hub id (only its config is downloaded)."""
    with TemporaryDirectory() as scratch:
        path = model_path(settings.path, Path(scratch))
        base = model_path(base_of(path), Path(scratch) / "base")
        if Path(base).expanduser().is_dir():
            return replace(shape_of_folder(base), name=settings.path)
        return replace(_shape_from_hub(base, settings.revision), name=settings.path)


def _shape_from_hub(name: str, revision: str | None) -> Shape:
    from transformers.utils import cached_file

    try:
        config = cached_file(name, "config.json", revision=revision)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"there is no folder {name!r}, and no config.json of that name on the hub or in its cache "
            f"({str(error).splitlines()[0]}); expected a model folder, a run's folder or a hub id. Check the name"
        ) from error
    assert config is not None
    return shape_of_folder(Path(config).parent)


def _shape_of_scorer(settings: ScorerSettings) -> Shape | None:
    """The shape of a scorer that is a model in a folder; None for functions, services and rules.

    An ensemble has the largest shape, with the parameters of all its models.
    """
    paths = [settings.path] if settings.path is not None else [part.path for part in settings.sum.values()]
    folders = [Path(place).expanduser() for path in paths if path is not None for place in places_of(path)]
    shapes: list[Shape] = []
    for folder in folders:
        found = model_folder(folder)
        if (found / "adapter_config.json").exists():
            found = Path(base_of(str(found))).expanduser()
        if (found / "config.json").exists():
            shapes.append(shape_of_folder(found))
    if not shapes:
        return None
    return replace(max(shapes, key=lambda one: one.parameters), parameters=sum(one.parameters for one in shapes))


def _longest(typical: int) -> int:
    return round(typical * LONGEST)


def _budget(compute: ComputeSettings, run: RunSettings, shape: Shape) -> int:
    device = resolve_device(run.device).type
    return compute.tokens_per_micro_batch or usual_token_budget(device, shape.hidden)
