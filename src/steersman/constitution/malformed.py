"""What is wrong with a critique or a revision as a text: empty, cut off, only the request repeated, markers of a
template, nothing changed. Such texts are kept with their status and counted; none is learned from."""

import re
import unicodedata

UNCHANGED = "revision: unchanged"
TOO_LONG = "longer than the model's context"
# Control tokens and turn headers of chat templates, our own field lines, and the paper's headings.
_MARKERS = re.compile(
    r"<\|[^|<>\n]{1,40}\|>|</?s>|\[/?INST\]|<(?:start|end)_of_turn>|^={3} .*[0-9a-f]{16} ={3}$"
    r"|^(?:human|assistant|user|critique ?request|revision ?request|revision|critique):",
    re.IGNORECASE | re.MULTILINE,
)


def critique_flaw(critique: str, request: str, *, cut_off: bool) -> str:
    """Why a critique cannot be used; "" if it can."""
    found = text_flaw(critique, cut_off=cut_off)
    if not found and _only(critique, request):
        found = "only the request repeated"
    return f"critique: {found}" if found else ""


def revision_flaw(revision: str, request: str, critique: str, answer: str, *, cut_off: bool) -> str:
    """Why a revision cannot be used, or that it changed nothing; "" if it can."""
    found = text_flaw(revision, cut_off=cut_off)
    if not found and _only(revision, request):
        found = "only the request repeated"
    if not found and plain_words(revision) == plain_words(critique):
        found = "only the critique repeated"
    if not found and plain_words(revision) == plain_words(answer):
        return UNCHANGED
    return f"revision: {found}" if found else ""


def text_flaw(text: str, *, cut_off: bool) -> str:
    """What is wrong with any text that a model wrote: empty, markers of a template, cut off; "" if nothing."""
    if not text.strip() or "\0" in text:
        return "empty"
    if _MARKERS.search(text):
        return "markers of a template"
    return "cut off" if cut_off else ""


def _only(text: str, request: str) -> bool:
    """Whether a text is the request and nothing else of substance."""
    words, asked = plain_words(text), plain_words(request)
    return bool(asked) and asked in words and len(words.replace(asked, " ").split()) < 3


def plain_words(text: str) -> str:
    """The words of a text in lower case, one space between them."""
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()))
