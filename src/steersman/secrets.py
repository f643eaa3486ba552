"""Hiding of secrets in everything that is kept or shown: recipes, stamps, journals, reports, messages.

Hidden are, by what they mean: a URL's user info and the values of its query, headers that authenticate, and the values
of names that end in key, token, secret, password and the like. The word "token" alone hides nothing: max_new_tokens,
eos_token and token_env are ordinary settings. A `${NAME}` stands for an environment variable and is no secret.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast
from urllib.parse import unquote_plus

HIDDEN = "***"
# A name whose last word says that its value is a secret. `key` counts as the last of several words, or alone.
_SECRET = re.compile(
    r"(?i)(?:^|[-_.\s]|(?-i:(?<=[a-z])(?=[A-Z])))"
    r"(?:api_?key|key|token|secret|password|passwd|passphrase|pwd|credentials?|authorization|signature|jwt|cookie)$"
)
# Tokens of a vocabulary, as the tokeniser's settings name them.
_OF_TEXT = re.compile(
    r"(?i)(?:^|[-_.])(?:eos|bos|pad|unk|sep|cls|mask|stop|image|special|new|per|next|last|first)_token$"
)
# Query parameters that choose what a service does. Every other value in a query is hidden.
_HARMLESS = {
    *("model", "version", "v", "api-version", "api_version", "format", "type", "task", "lang", "language", "mode"),
    *("count", "limit", "batch", "batch_size", "n", "seed", "top", "temperature", "max_tokens", "timeout", "split"),
}
_URL = re.compile(r"(?P<start>\b[a-zA-Z][a-zA-Z0-9+.-]*://)(?P<user>[^/\s?#\"'<>]*@)?(?P<rest>[^\s\"'<>]*)")
_DATABASE = re.compile(r"(?i)postgres(?:ql)?(?:\+\w+)?://")
# The same within a value of another query, where it is percent-encoded.
_ENCODED_USER = re.compile(r"(?i)(%3A%2F%2F)(?:(?!%2F|%40)[^\s&#\"'<>/])*%40")
_HEADER = re.compile(
    r"(?i)\b((?:proxy-)?authorization|x-api-key|api-key|x-auth-token|cookie|set-cookie)(\"?'?\s*:\s*\"?'?)"
    r"((?:bearer|basic|digest|token)\s+)?[^\s\"',;]+"
)
_ASSIGNED = re.compile(
    r"(?P<name>[A-Za-z_][\w.-]*)(?P<equals>\s?=\s?)(?P<quote>[\"']?)(?P<value>[^\s\"'&,;]+)(?P=quote)"
)
_BEARER = re.compile(r"(?i)\b(bearer\s+)[A-Za-z0-9._~+/=-]{8,}")
_VARIABLE = re.compile(r"\$\{\w+\}")


def is_secret(name: str) -> bool:
    """Whether a setting, an option, a header or a variable of this name holds a secret."""
    name = name.strip().lstrip("-")
    return bool(_SECRET.search(name)) and not _OF_TEXT.search(name)


def conceal(text: str) -> str:
    """The text without secrets."""
    text = _URL.sub(_url, text)
    text = _ENCODED_USER.sub(rf"\g<1>{HIDDEN}%40", text)
    text = _HEADER.sub(lambda found: f"{found[1]}{found[2]}{found[3] or ''}{HIDDEN}", text)
    text = _BEARER.sub(rf"\g<1>{HIDDEN}", text)
    return _ASSIGNED.sub(_assigned, text)


def concealed(value: Any, name: str = "") -> Any:
    """A value of JSON or TOML without secrets: texts are concealed, and values of secret names are hidden."""
    if isinstance(value, str):
        if name and is_secret(name) and value and not _VARIABLE.fullmatch(value):
            return HIDDEN
        return conceal(value)
    if isinstance(value, Mapping):
        return {key: concealed(item, str(key)) for key, item in cast(Mapping[Any, Any], value).items()}
    if isinstance(value, list | tuple):
        return [concealed(item, name) for item in cast(Sequence[Any], value)]
    return value


def concealed_arguments(arguments: Sequence[str]) -> list[str]:
    """A command line without secrets; what follows an option with a secret name is hidden."""
    kept: list[str] = []
    hide_next = False
    for argument in arguments:
        name, equals, value = argument.partition("=")
        is_option = bool(re.fullmatch(r"-{0,2}[A-Za-z_][\w.-]*", name))
        if (hide_next and not argument.startswith("-")) or (equals and is_option and is_secret(name)):
            hidden = value if equals and _VARIABLE.fullmatch(value) else HIDDEN
            kept.append(f"{name}={hidden}" if equals and not hide_next else HIDDEN)
        else:
            kept.append(conceal(argument))
        hide_next = not equals and argument.startswith("-") and is_secret(argument)
    return kept


def hidden_values(url: str) -> list[str]:
    """The values of a URL's query that are secrets, as they are written and decoded, the longest first."""
    query = url.partition("?")[2].partition("#")[0]
    raw = [text.partition("=")[2] or text for text in query.split("&") if text != _parameter(text)]
    return sorted({value for text in raw for value in (text, unquote_plus(text))}, key=len, reverse=True)


def holds_secret(url: str) -> bool:
    """Whether a URL's query has a parameter whose name says that it is a secret."""
    query = url.partition("?")[2].partition("#")[0]
    return any(is_secret(text.partition("=")[0]) and text.partition("=")[2] for text in query.split("&"))


def _url(found: re.Match[str]) -> str:
    rest = found["rest"]
    tail = rest[len(rest.rstrip(".,;:)]!")) :]  # punctuation of the sentence around the URL
    place, question, query = rest[: len(rest) - len(tail)].partition("?")
    query, hash_mark, fragment = query.partition("#")
    shown = "&".join(map(_parameter, query.split("&")))
    # A database's user is a name; elsewhere what stands there alone may be a token.
    is_name = _DATABASE.match(found["start"]) and ":" not in (found["user"] or "")
    user = found["user"] or ""
    user = user if is_name or not user else f"{HIDDEN}@"
    fragment = conceal(fragment) if fragment else ""
    return f"{found['start']}{user}{place}{question}{shown}{hash_mark}{fragment}{tail}"


def _parameter(text: str) -> str:
    name, equals, value = text.partition("=")
    if not equals:
        return text if text.lower() in _HARMLESS or not text or _VARIABLE.fullmatch(text) else HIDDEN
    harmless = name.lower() in _HARMLESS or not value or _VARIABLE.fullmatch(value)
    return text if harmless else f"{name}={HIDDEN}"


def _assigned(found: re.Match[str]) -> str:
    # `key=value` by itself is how settings are explained, and no secret.
    if not is_secret(found["name"]) or found["name"].lower() == "key" or _VARIABLE.fullmatch(found["value"]):
        return found[0]
    return f"{found['name']}{found['equals']}{found['quote']}{HIDDEN}{found['quote']}"
