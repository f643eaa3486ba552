"""Small faults that can be planted in a Python file: each is one piece of its text, replaced.

Left out: annotations and type variables, decorators, imports, strings and what stands inside of them, asserts (they
tell the type checker something), and the bodies of protocols.
"""

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

COMPARISONS = {
    ast.Lt: ("<=", ">"),
    ast.LtE: ("<", ">="),
    ast.Gt: (">=", "<"),
    ast.GtE: (">", "<="),
    ast.Eq: ("!=",),
    ast.NotEq: ("==",),
    ast.Is: ("is not",),
    ast.IsNot: ("is",),
    ast.In: ("not in",),
    ast.NotIn: ("in",),
}
ARITHMETIC = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "/",
    ast.Div: "*",
    ast.FloorDiv: "*",
    ast.Mod: "*",
    ast.Pow: "*",
    ast.BitAnd: "|",
    ast.BitOr: "&",
    ast.LShift: ">>",
    ast.RShift: "<<",
}
SWAPPED_NAMES = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "minimum": "maximum",
    "maximum": "minimum",
    "floor": "ceil",
    "ceil": "floor",
    "argmin": "argmax",
    "argmax": "argmin",
}
UNWRAPPED_FUNCTIONS = frozenset({"abs", "sorted", "reversed"})
UNWRAPPED_METHODS = frozenset(
    {"abs", "casefold", "clamp", "detach", "exp", "log", "lower", "sqrt", "square", "strip", "removeprefix"}
)


@dataclass(frozen=True)
class Mutation:
    """One replacement. `first` and `last` are the lines of the statement (or of its head) that it stands in; `inside`
    says whether that statement runs when a function is called, and not when the module is imported."""

    file: str
    line: int
    source_line: str
    before: str
    after: str
    start: int
    end: int
    first: int
    last: int
    inside: bool
    which: int = 1
    """Where the same change is possible several times in a line: the first, the second, …"""

    @property
    def change(self) -> str:
        number = f" ({self.which})" if self.which > 1 else ""
        return f"{_short(self.before)} -> {_short(self.after)}{number}"

    @property
    def key(self) -> tuple[str, str, str]:
        """What names the mutation when lines above it come and go."""
        return self.file, self.source_line, self.change

    def apply(self, text: str) -> str:
        raw = text.encode()
        return (raw[: self.start] + self.after.encode() + raw[self.end :]).decode()


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 70 else words[:67] + "..."


def mutations_of(file: str, text: str) -> list[Mutation]:
    """Every mutation of a file, in the order of its lines."""
    found: list[Mutation] = []
    seen: Counter[tuple[int, str]] = Counter()
    for one in sorted(_Finder(file, text).found, key=lambda one: (one.line, one.start, one.after)):
        seen[one.line, one.change] += 1
        found.append(replace(one, which=seen[one.line, one.change]))
    return found


def is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


class _Finder:
    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.raw = text.encode()
        self.lines = text.splitlines()
        self.offsets = [0]
        for line in self.raw.splitlines(keepends=True):
            self.offsets.append(self.offsets[-1] + len(line))
        self.found: list[Mutation] = []
        self.span = (1, 1)
        self.inside = False
        self.returns: str = ""
        self.body(ast.parse(text).body)

    # --- the walk over statements

    def body(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            self.statement(statement)

    def statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.FunctionDef):
            self.function(node)
        elif isinstance(node, ast.ClassDef):
            if not any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases):
                self.body(node.body)
        elif isinstance(node, ast.Assert | ast.Import | ast.ImportFrom):
            return
        elif isinstance(node, ast.If | ast.While | ast.For | ast.With | ast.Try):
            self.compound(node)
        else:
            self.span = (node.lineno, node.end_lineno or node.lineno)
            self.simple(node)

    def function(self, node: ast.FunctionDef) -> None:
        before = self.span, self.inside, self.returns
        for default in (*node.args.defaults, *node.args.kw_defaults):
            if default is not None:
                self.span = (default.lineno, default.end_lineno or default.lineno)
                self.expression(default)
        self.inside, self.returns = True, "" if node.returns is None else ast.unparse(node.returns)
        self.body(node.body)
        self.span, self.inside, self.returns = before

    def compound(self, node: ast.If | ast.While | ast.For | ast.With | ast.Try) -> None:
        heads: list[ast.expr] = []
        if isinstance(node, ast.If | ast.While):
            heads = [node.test]
        elif isinstance(node, ast.For):
            heads = [node.iter]
        elif isinstance(node, ast.With):
            heads = [item.context_expr for item in node.items]
        for head in heads:
            self.span = (node.lineno, head.end_lineno or head.lineno)
            if isinstance(node, ast.If | ast.While):
                self.negate(head)
            self.expression(head)
        self.body(node.body)
        if isinstance(node, ast.Try):
            for handler in node.handlers:
                self.body(handler.body)
            self.body(node.finalbody)
        self.body(getattr(node, "orelse", []))

    def simple(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Expr):
            if isinstance(node.value, ast.Constant):
                return
            self.add(node, "pass")
            self.expression(node.value)
        elif isinstance(node, ast.Return):
            if node.value is not None:
                self.returned(node.value)
                self.expression(node.value)
        elif isinstance(node, ast.Raise | ast.Break | ast.Continue | ast.Delete):
            self.add(node, "pass")
        elif isinstance(node, ast.AugAssign):
            self.add(node, "pass")
            operator = ARITHMETIC.get(type(node.op))
            if operator and not _is_text(node.value):
                self.add(node, f"{self.text(node.target)} {operator}= {self.text(node.value)}")
            self.expression(node.value)
        elif isinstance(node, ast.Assign):
            if _is_type_variable(node.value):
                return
            if self.inside and all(isinstance(target, ast.Attribute | ast.Subscript) for target in node.targets):
                self.add(node, "pass")
            self.expression(node.value)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            self.expression(node.value)

    # --- expressions

    def expression(self, node: ast.AST) -> None:
        if isinstance(node, ast.JoinedStr):
            # positions inside f-strings are not to be relied on before Python 3.12
            return
        if isinstance(node, ast.Lambda):
            before, self.inside = self.inside, True
            self.expression(node.body)
            self.inside = before
            return
        for mutated in self.of(node):
            self.add(node, mutated)
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr | ast.keyword | ast.comprehension | ast.Slice):
                self.expression(child)

    def of(self, node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Compare):
            yield from self.comparison(node)
        elif isinstance(node, ast.BinOp):
            operator = ARITHMETIC.get(type(node.op))
            bits = isinstance(node.op, ast.BitOr | ast.BitAnd)
            if operator and not (bits and not self.inside) and not _is_text(node.left) and not _is_text(node.right):
                yield f"({self.text(node.left)} {operator} {self.text(node.right)})"
        elif isinstance(node, ast.BoolOp):
            word = " or " if isinstance(node.op, ast.And) else " and "
            yield "(" + word.join(f"({self.text(value)})" for value in node.values) + ")"
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
            yield f"({self.text(node.operand)})"
        elif isinstance(node, ast.IfExp):
            test, yes, no = (self.text(part) for part in (node.test, node.body, node.orelse))
            yield f"({yes} if not ({test}) else {no})"
        elif isinstance(node, ast.Constant):
            yield from _other_constants(node.value)
        elif isinstance(node, ast.Subscript):
            yield from self.slices(node)
        elif isinstance(node, ast.Call):
            yield from self.call(node)
        elif isinstance(node, ast.comprehension):
            return
        elif isinstance(node, ast.keyword) and node.arg in ("min", "max"):
            yield f"{SWAPPED_NAMES[node.arg]}={self.text(node.value)}"

    def comparison(self, node: ast.Compare) -> Iterator[str]:
        sides = [node.left, *node.comparators]
        for place, operator in enumerate(node.ops):
            for other in COMPARISONS[type(operator)]:
                words = [self.text(sides[0])]
                for i, (op, side) in enumerate(zip(node.ops, sides[1:], strict=True)):
                    words += [other if i == place else _symbol(op), self.text(side)]
                yield f"({' '.join(words)})"

    def slices(self, node: ast.Subscript) -> Iterator[str]:
        """Bounds that are constants are mutated as constants are."""
        cut = node.slice
        if not isinstance(cut, ast.Slice):
            return
        step = f":{self.text(cut.step)}" if cut.step else ""
        low, high = (self.text(bound) if bound else "" for bound in (cut.lower, cut.upper))
        whole = self.text(node.value)
        if cut.lower is not None and not _is_number(cut.lower):
            yield f"{whole}[({low}) + 1:{high}{step}]"
        if cut.upper is not None and not _is_number(cut.upper):
            yield f"{whole}[{low}:({high}) - 1{step}]"

    def call(self, node: ast.Call) -> Iterator[str]:
        arguments = self.raw[self.place(node.func)[1] : self.place(node)[1]].decode()
        if isinstance(node.func, ast.Name):
            if node.func.id in SWAPPED_NAMES:
                yield SWAPPED_NAMES[node.func.id] + arguments
            if node.func.id in UNWRAPPED_FUNCTIONS and len(node.args) == 1:
                yield f"({self.text(node.args[0])})"
        elif isinstance(node.func, ast.Attribute):
            owner = self.text(node.func.value)
            if node.func.attr in SWAPPED_NAMES:
                yield f"{owner}.{SWAPPED_NAMES[node.func.attr]}{arguments}"
            if node.func.attr in UNWRAPPED_METHODS and not (isinstance(node.func.value, ast.Name) and node.args):
                yield owner

    def negate(self, head: ast.expr) -> None:
        if not isinstance(head, ast.UnaryOp) and not (isinstance(head, ast.Compare) and len(head.ops) == 1):
            self.add(head, f"not ({self.text(head)})")

    def returned(self, value: ast.expr) -> None:
        text, returns = self.text(value), self.returns
        if text in ("[]", "{}", "()", '""', "None"):
            return
        if returns == "bool":
            self.add(value, f"not ({text})")
        elif returns in ("int", "float"):
            self.add(value, f"({text}) + 1")
        elif returns == "str":
            self.add(value, '""')
        elif isinstance(value, ast.Tuple) and len(value.elts) > 1:
            first, second, *rest = (self.text(part) for part in value.elts)
            if first != second:
                self.add(value, f"({', '.join((second, first, *rest))})")
        elif returns.startswith(("list[", "dict[", "tuple[", "Sequence[", "Mapping[", "set[")):
            self.add(value, f"type({text})()")
        elif "Tensor" in returns and not returns.startswith("tuple"):
            self.add(value, f"-({text})")
        else:
            self.add(value, "None")

    # --- text

    def place(self, node: ast.AST) -> tuple[int, int]:
        return (
            self.offsets[node.lineno - 1] + node.col_offset,  # type: ignore[attr-defined]
            self.offsets[node.end_lineno - 1] + node.end_col_offset,  # type: ignore[attr-defined]
        )

    def text(self, node: ast.AST) -> str:
        start, end = self.place(node)
        text = self.raw[start:end].decode()
        # A piece over several lines was held together by brackets that are not part of it.
        return (
            f"({text})" if "\n" in text and isinstance(node, ast.BinOp | ast.BoolOp | ast.Compare | ast.IfExp) else text
        )

    def add(self, node: ast.AST, after: str) -> None:
        start, end = self.place(node)
        line = node.lineno  # type: ignore[attr-defined]
        if self.raw[start:end].decode() == after:
            return
        self.found.append(
            Mutation(
                file=self.file,
                line=line,
                source_line=self.lines[line - 1].strip(),
                before=self.raw[start:end].decode(),
                after=after,
                start=start,
                end=end,
                first=self.span[0],
                last=self.span[1],
                inside=self.inside,
            )
        )


def _symbol(operator: ast.cmpop) -> str:
    return {
        ast.Lt: "<",
        ast.LtE: "<=",
        ast.Gt: ">",
        ast.GtE: ">=",
        ast.Eq: "==",
        ast.NotEq: "!=",
        ast.Is: "is",
        ast.IsNot: "is not",
        ast.In: "in",
        ast.NotIn: "not in",
    }[type(operator)]


def _other_constants(value: object) -> tuple[str, ...]:
    if isinstance(value, bool):
        return (str(not value),)
    if isinstance(value, int):
        return (str(value + 1), f"({value - 1})")
    if isinstance(value, float):
        return (f"({value + 1!r})", f"({value - 1!r})", *([f"({-value!r})"] if value else []))
    return ()


def _is_type_variable(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "TypeVar"


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _is_number(node: ast.AST) -> bool:
    if isinstance(node, ast.UnaryOp):
        node = node.operand
    return isinstance(node, ast.Constant)
