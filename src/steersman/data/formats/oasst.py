"""OpenAssistant's oasst1 and oasst2 (Köpf et al. 2023): message trees, nested or one message per row.

Each assistant message that was not rejected is a demonstration. The ranked answers to one message are a ranking (`rank`
0 is the best). Flat rows of one tree must be adjacent, as in the published files, so that only one tree is in memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from steersman.data.formats.fields import ROLE_OF, has, mapping, need, number, text, text_or
from steersman.data.formats.format import UNFORESEEN, Format, LeftOut, Outcome, PlacedOutcomes, PlacedRows, Row
from steersman.errors import DataError
from steersman.records import Completion, Demonstration, Malformed, Message, Messages, Prompt, Ranking

_IDENTIFIERS = ("message_id", "parent_id", "message_tree_id")


@dataclass
class _Node:
    row: Row
    line: int
    replies: list["_Node"] = field(default_factory=list)


def _refused(row: Row) -> str:
    if row.get("deleted"):
        return "a deleted message"
    return "a message that reviewers rejected" if row.get("review_result") is False else ""


def _walk(node: _Node, before: Messages, ancestor_refused: bool) -> Iterator[tuple[int, Outcome]]:
    stack: list[tuple[_Node, Messages, bool]] = [(node, before, ancestor_refused)]
    while stack:
        node, before, refused = stack.pop()
        why = _refused(node.row) or ("an answer below a rejected or deleted message" if refused else "")
        role = ROLE_OF.get(text(node.row, "role"))
        if role not in ("user", "assistant"):
            raise DataError(f"unknown role: {node.row['role']!r}")
        content = text(node.row, "text")
        if why:
            yield node.line, LeftOut(why)
        elif role == "assistant":
            yield node.line, _demonstration(node.row, before, content)
        messages = (*before, Message(role, content))
        if role == "user" and not why:
            ranking = _ranking(node, messages)
            if ranking:
                yield node.line, ranking
        stack.extend((reply, messages, bool(why)) for reply in reversed(node.replies))


def _prompt(row: Row, messages: Messages, id: str) -> Prompt:
    return Prompt(messages, id=id, metadata={k: row[k] for k in ("lang", "tree_state") if row.get(k)})


def _demonstration(row: Row, before: Messages, answer: str) -> Demonstration:
    if not before:
        raise DataError("an assistant message without a message before it")
    completion = Completion(answer, model=text_or(row, "model_name"), id=text_or(row, "message_id"))
    prompt = _prompt(row, before, text_or(row, "parent_id"))
    return Demonstration(prompt, completion, annotator=text_or(row, "user_id"), id=text_or(row, "message_id"))


def _ranking(node: _Node, messages: Messages) -> Ranking | None:
    ranked = [n for n in node.replies if n.row.get("rank") is not None and not _refused(n.row)]
    if len(ranked) < 2:
        return None
    completions = tuple(
        Completion(text(n.row, "text"), model=text_or(n.row, "model_name"), id=text_or(n.row, "message_id"))
        for n in ranked
    )
    ranks = tuple(int(number(n.row, "rank")) + 1 for n in ranked)
    id = text_or(node.row, "message_id")
    return Ranking(_prompt(node.row, messages, id), completions, ranks, id=id)


def _node(row: Row) -> _Node:
    node = _Node(row, 0)
    stack = [node]
    while stack:
        current = stack.pop()
        replies = current.row.get("replies") or []
        if not isinstance(replies, list) or not all(isinstance(reply, dict) for reply in replies):
            raise DataError("'replies' should be a list of messages")
        current.replies = [_Node(reply, 0) for reply in replies]
        stack.extend(current.replies)
    return node


def _read_tree(row: Row) -> list[Outcome]:
    return [outcome for _, outcome in _walk(_node(mapping(row, "prompt")), (), False)]


def _gather(source: str, rows: PlacedRows) -> PlacedOutcomes:
    """Outcomes from flat rows, read one tree at a time."""
    current: list[_Node] = []
    tree: Any = None
    done: set[int] = set()
    for line, row in rows:
        if any(row.get(key) is None for key in ("message_id", "text", "role")):
            missing = next(key for key in ("message_id", "text", "role") if row.get(key) is None)
            yield line, Malformed(source, line, f"missing key {missing!r}", str(dict(row))[:4000])
            continue
        unfit = next((key for key in _IDENTIFIERS if not isinstance(row.get(key), str | int | None)), None)
        if unfit is not None:
            reason = f"{unfit!r} should be an identifier: seen {type(row[unfit]).__name__}"
            yield line, Malformed(source, line, reason, str(dict(row))[:4000])
            continue
        belongs = row.get("message_tree_id") or (row["message_id"] if row.get("parent_id") is None else tree)
        if belongs != tree:
            yield from _tree(source, current)
            done.add(hash(tree))
            current, tree = [], belongs
            if hash(belongs) in done:
                reason = "a message of a tree whose rows are not adjacent: sort the rows by message_tree_id"
                yield line, Malformed(source, line, reason, str(row["message_id"]))
                tree = None
                continue
        current.append(_Node(row, line))
    yield from _tree(source, current)


def _tree(source: str, nodes: list[_Node]) -> PlacedOutcomes:
    by_id = {node.row["message_id"]: node for node in nodes}
    roots: list[_Node] = []
    for node in nodes:
        parent = node.row.get("parent_id")
        if parent is None:
            roots.append(node)
        elif parent in by_id:
            by_id[parent].replies.append(node)
        else:
            yield node.line, Malformed(source, node.line, "its parent_id is not in its message tree", str(parent))
    for root in roots:
        try:
            yield from _walk(root, (), False)
        except DataError as error:
            yield root.line, Malformed(source, root.line, str(error), str(root.row["message_id"]))
        except UNFORESEEN as error:
            reason = f"unexpected shape: {type(error).__name__}: {error} (read as oasst)"[:300]
            yield root.line, Malformed(source, root.line, reason, str(root.row["message_id"]))


def _read_alone(row: Row) -> list[Outcome]:
    """Never used for a good row: a tree needs all its rows, which `gather` reads together."""
    raise DataError(f"the message {need(row, 'message_id')} must be read with the rest of its tree")


FORMATS = (
    Format(
        "oasst-trees",
        "OpenAssistant message trees",
        ("message_tree_id", "tree_state", "prompt"),
        lambda row: has(row, "message_tree_id", "prompt") and isinstance(row["prompt"], dict),
        _read_tree,
    ),
    Format(
        "oasst",
        "OpenAssistant messages",
        ("message_id", "parent_id", "text", "role", "message_tree_id"),
        lambda row: has(row, "message_id", "text", "role"),
        _read_alone,
        gather=_gather,
    ),
)
