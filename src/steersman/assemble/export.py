"""`steersman export`: a run's model as a Hugging Face folder, checked against its source, with a card."""

from dataclasses import dataclass
from pathlib import Path

from steersman.errors import ModelError, UsageError
from steersman.export.card import CardOptions, model_card
from steersman.export.compare import Difference
from steersman.export.folder import new_folder
from steersman.export.gguf_file import write_gguf
from steersman.export.hub import Push, check_repo, push_folder
from steersman.export.language import DTYPES, Adapter, LanguageExport, export_language
from steersman.export.reward import export_reward
from steersman.models.files import describe
from steersman.reward.open import ENSEMBLE
from steersman.runs.model_folder import finished_model_folder


@dataclass(frozen=True, slots=True)
class PushOptions:
    """Where on the hub the folder goes, and whether everybody may read it there."""

    repo: str
    public: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class ExportOptions:
    adapter: Adapter = "merge"
    dtype: str = "auto"
    base: str | None = None
    gguf: bool = False
    card: bool = True
    licence: str | None = None
    evaluation: Path | None = None
    push: PushOptions | None = None


@dataclass(frozen=True, slots=True)
class Exported:
    """Where the model is now, what it is, how far it is from its source, and what to know about it."""

    folder: Path
    kind: str
    difference: Difference
    notes: tuple[str, ...]
    push: Push | None = None


def run_export(place: str, out: Path, options: ExportOptions) -> Exported:
    if options.adapter not in ("merge", "apart"):
        raise UsageError(f"--adapter {options.adapter} is unknown; expected merge or apart")
    if options.dtype not in ("auto", *DTYPES):
        raise UsageError(f"--dtype {options.dtype} is unknown; expected auto, {', '.join(DTYPES)}")
    if options.push is not None:
        check_repo(options.push.repo)
    out = out.expanduser()
    source = finished_model_folder(place)
    kind = _kind_of(source)
    if kind == "reward" and (options.gguf or options.adapter == "apart" or options.dtype != "auto"):
        raise UsageError("a reward model is exported whole, in its own dtype; leave out --gguf, --adapter and --dtype")
    if options.gguf and options.adapter == "apart":
        raise UsageError("GGUF holds a whole model; leave out --adapter apart")
    notes: list[str] = []
    with new_folder(out) as folder:
        if kind == "reward":
            made = export_reward(source, folder)
            difference = made.difference
            if made.constant:
                notes.append(
                    f"the score is the logit minus {made.constant:.6g}: this class has no bias for the scores' mean"
                )
        else:
            dtype = None if options.dtype == "auto" else DTYPES[options.dtype]
            wanted = LanguageExport(place, options.adapter, dtype, options.base)
            difference, _, notes = export_language(wanted, folder)
            if options.gguf:
                notes.append(f"model.gguf, for llama.cpp and Ollama: {write_gguf(folder).shown}")
        if options.card:
            card = model_card(place, kind, difference, notes, CardOptions(options.licence, options.evaluation))
            (folder / "README.md").write_text(card, encoding="utf-8")
    push = options.push
    pushed = None if push is None else push_folder(out, push.repo, "model", public=push.public, dry_run=push.dry_run)
    return Exported(out, kind, difference, tuple(notes), pushed)


def _kind_of(source: Path) -> str:
    if (source / ENSEMBLE).exists():
        return "reward"
    if not source.is_dir():
        return "language"
    if not (source / "config.json").exists() and not (source / "adapter_config.json").exists():
        return "language"
    found = describe(source)
    if found.kind == "classifier":
        raise ModelError(f"{source} is a classifier: its folder is one of plain transformers already")
    return "reward" if found.kind == "reward" or found.notes.get("kind") == "reward" else "language"
