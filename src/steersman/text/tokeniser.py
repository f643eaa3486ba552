"""Tokenisers: loading, adding a PAD token, decoding, and truncation that does not split a character.

A language model needs no PAD of its own: batches carry lengths and loss masks, so that no token is taken for padding
by its id. Where PAD is EOS or missing, the vocabulary stays as it is and EOS is learned like any other token. Reward
models and classifiers get a PAD of their own, since transformers reads their score at the last token that is not PAD.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from steersman.errors import ModelError

# A fast Hugging Face tokeniser. It stays Any so that this module imports without transformers (a second of start-up).
Tokeniser = Any

PAD = "<|pad|>"
# Unused padding tokens in the vocabularies of published models. Using one of them saves an embedding row.
KNOWN_PADS = (PAD, "<pad>", "[PAD]", "<|padding|>", "<|finetune_right_pad_id|>")
# Tokens that `cut` checks around a cut. A character has at most 4 tokens; the longest emoji in use has about 35.
WINDOW = 64


def load_tokeniser(path: str | Path, *, revision: str | None = None, trust_remote_code: bool = False) -> Tokeniser:
    """The tokeniser of a model folder or hub id. It must be a fast one: loss masks need character offsets."""
    from transformers import AutoTokenizer

    folder = Path(path).expanduser()
    if folder.is_dir() and not any((folder / name).exists() for name in TOKENISER_FILES):
        raise ModelError(
            f"the folder {folder} holds no tokeniser (expected tokenizer.json or one of "
            f"{', '.join(TOKENISER_FILES[1:])}); save the tokeniser beside the model with tokenizer.save_pretrained, "
            "or name another folder"
        )
    name = str(folder) if folder.exists() else str(path)
    try:
        tokeniser = AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise ModelError(
            f"no tokeniser could be loaded from {str(path)!r}: {_first_line(error)}. Expected a folder with a "
            "tokenizer.json or a hub id that is cached or can be downloaded; check the name and the connection"
        ) from error
    if not tokeniser.is_fast:
        raise ModelError(
            f"{str(path)!r} has only a slow tokeniser ({type(tokeniser).__name__}); expected one with a "
            "tokenizer.json, since loss masks need character offsets. Convert it with transformers' "
            "convert_slow_tokenizer"
        )
    return tokeniser


TOKENISER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "tekken.json",
)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(". ")


def use_known_pad(tokeniser: Tokeniser) -> str:
    """Make an unused padding token of the vocabulary the PAD, if there is none but EOS or BOS; nothing is added.

    Returns a sentence about what was done; "" if the tokeniser has a PAD of its own.
    """
    taken = {tokeniser.eos_token_id, tokeniser.bos_token_id}
    if tokeniser.pad_token_id is not None and tokeniser.pad_token_id not in taken:
        return ""
    was = "missing" if tokeniser.pad_token_id is None else f"{tokeniser.pad_token!r}, which has another meaning"
    vocabulary = tokeniser.get_vocab()
    known = next((name for name in KNOWN_PADS if name in vocabulary and vocabulary[name] not in taken), None)
    if known is not None:
        tokeniser.add_special_tokens({"pad_token": known})
        return f"the tokeniser's PAD is {was}; {known!r}, unused in its vocabulary, is taken for it"
    return (
        f"the tokeniser's PAD is {was}; no token is added. Rows are padded by their lengths, and EOS is learned like "
        "any other token"
    )


def never_drawn(tokeniser: Tokeniser, ends: Sequence[int]) -> tuple[int, ...]:
    """Ids that no answer may hold: a PAD that has a row of its own in the model, and no other meaning."""
    pad = tokeniser.pad_token_id
    return () if pad is None or pad in {tokeniser.eos_token_id, tokeniser.bos_token_id, *ends} else (pad,)


def give_pad(tokeniser: Tokeniser, *, ends: Sequence[int] = ()) -> bool:
    """Make sure that PAD exists and is neither EOS, BOS nor one of `ends`. Returns True if the vocabulary grew."""
    taken = {tokeniser.eos_token_id, tokeniser.bos_token_id, *ends} - {None}
    if tokeniser.pad_token_id is not None and tokeniser.pad_token_id not in taken:
        return False
    before = len(tokeniser)
    vocabulary = tokeniser.get_vocab()
    there = [name for name in KNOWN_PADS if name in vocabulary and vocabulary[name] not in taken]
    absent = [name for name in KNOWN_PADS if name not in vocabulary]
    tokeniser.add_special_tokens({"pad_token": (there or absent)[0]})
    return len(tokeniser) > before


def special_strings(tokeniser: Tokeniser) -> list[str]:
    """All strings that the tokeniser would read as control tokens, longest first."""
    marked = {str(token) for token in tokeniser.added_tokens_decoder.values() if token.special}
    return sorted(marked | {str(token) for token in tokeniser.all_special_tokens}, key=lambda text: (-len(text), text))


def cut(tokeniser: Tokeniser, ids: Sequence[int], limit: int) -> list[int]:
    """The longest prefix of at most `limit` ids that ends at a character (grapheme cluster) boundary.

    Byte-level tokens may hold a third of a Korean syllable or one part of an emoji; a cut there would leave U+FFFD. If
    no boundary is within reach (a character of more than 64 tokens), the cut stays at `limit`.
    """
    if limit <= 0:
        return []
    reach = range(limit, max(0, limit - WINDOW) - 1, -1)
    return list(ids[: next((n for n in reach if _is_whole(tokeniser, ids, n)), limit)])


def cut_left(tokeniser: Tokeniser, ids: Sequence[int], limit: int) -> list[int]:
    """The longest suffix of at most `limit` ids that starts at a character (grapheme cluster) boundary."""
    first = max(0, len(ids) - limit)
    reach = range(first, min(len(ids), first + WINDOW) + 1)
    return list(ids[next((n for n in reach if _is_whole(tokeniser, ids, n)), first) :])


def _is_whole(tokeniser: Tokeniser, ids: Sequence[int], position: int) -> bool:
    """Whether a cut before ids[position] falls between two grapheme clusters."""
    import regex

    if position <= 0 or position >= len(ids):
        return True
    start = max(0, position - WINDOW)
    around = _literal(tokeniser, ids[start : position + WINDOW])
    before = _literal(tokeniser, ids[start:position])
    after = _literal(tokeniser, ids[position : position + WINDOW])
    # Half a character decodes to U+FFFD on both sides. (Some decoders drop a leading space.)
    if around not in (before + after, f"{before} {after}"):
        return False
    return len(before) in {match.end() for match in regex.finditer(r"\X", around)} | {0}


def _literal(tokeniser: Tokeniser, ids: Sequence[int]) -> str:
    return tokeniser.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)


def decode(tokeniser: Tokeniser, ids: Sequence[int]) -> str:
    """The text of these ids without control tokens, for people and reward functions. Spaces are not changed."""
    return tokeniser.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
