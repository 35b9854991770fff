"""What cargo-mutants would change in a file, all of it in one text as choices."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import tree_sitter
import tree_sitter_rust
from schemata import ROOT
from survivors import Change

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Span = tuple[int, int]

PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_rust.language()))
# Comments that say where a choice, and in it a fault, begins and ends.
MARK = re.compile(rb"/\*(?:([<\[])(\d+)|[>\]])\*/")
NOT_CONST = "E0015"


def child(node: tree_sitter.Node, name: str) -> tree_sitter.Node:
    """A part of a node that it always has."""
    found = node.child_by_field_name(name)
    if found is None:
        raise LookupError(name)
    return found


def returns_some(function: tree_sitter.Node) -> bool:
    """Whether a function's type is known by what it is made of."""
    returned = function.child_by_field_name("return_type")
    return returned is not None and (returned.text or b"").startswith(b"impl ")


def is_caught(arm: tree_sitter.Node) -> bool:
    """Whether what no arm of the match takes is taken by its last."""
    block = arm.parent
    arms = [it for it in block.children if it.type == "match_arm"] if block else []
    return bool(arms) and child(arms[-1], "pattern").text == b"_"


class Mutant(NamedTuple):
    """One change, as cargo-mutants lists it."""

    number: int
    file: Path
    name: str
    genre: str
    replacement: str
    start: Span
    """Line and column from 1, of what is changed, in characters."""
    end: Span
    function: str

    @classmethod
    def of(cls, number: int, item: dict[str, Any]) -> Mutant:
        """An item of the list."""

        def place(at: dict[str, int]) -> Span:
            return at["line"], at["column"]

        span = item["span"]
        return cls(
            number,
            Path(item["file"]),
            item["name"],
            item["genre"],
            item["replacement"],
            place(span["start"]),
            place(span["end"]),
            (item["function"] or {}).get("function_name", ""),
        )

    def change(self, lines: Sequence[str]) -> Change:
        """What it is, given the lines of its file."""
        if self.genre == "FnValue":
            marked = f"fn «{self.function.rpartition('::')[2].partition('<')[0]}»"
        else:
            number, first = self.start
            line = lines[number - 1].rstrip()
            last = self.end[1] if self.end[0] == number else len(line) + 1
            before, part, after = line[: first - 1], line[first - 1 : last - 1], line[last - 1 :]
            marked = f"{before}«{part}»{after}".strip()
        return Change(str(self.file), self.function, marked, self.replacement)

    def became(self, what: str, by: str, seconds: float, lines: Sequence[str]) -> dict[str, object]:
        """A line of the results."""
        known = {"name": self.name, "genre": self.genre, **self.change(lines)._asdict()}
        return {**known, "became": what, "by": by, "seconds": round(seconds, 3)}


class Choice(NamedTuple):
    """Faults of one expression."""

    start: int
    end: int
    genre: str
    faults: list[Mutant]


class Source:
    """A file with all its choices."""

    def __init__(self, file: Path, chosen: Callable[[Path, int], str]) -> None:
        self.file = file
        self.bytes = (ROOT / file).read_bytes()
        self.lines = self.bytes.decode().splitlines(keepends=True)
        self.tree = PARSER.parse(self.bytes)
        self.choose = chosen
        self.nodes: dict[int, tree_sitter.Node] = {}
        self.left_out: dict[int, str] = {}
        """Why, by number."""
        self.twice: set[int] = set()
        """Those whose operands stand there once for each way, as they cannot be bound first."""
        self.grouped: defaultdict[tuple[int, int, str], list[Mutant]] = defaultdict(list)

    def offset(self, place: Span) -> int:
        """In bytes, of a line and column."""
        line, column = place
        before = "".join(self.lines[: line - 1]) + self.lines[line - 1][: column - 1]
        return len(before.encode())

    def add(self, mutant: Mutant) -> None:
        """One more fault; left out if it stands where there can be no choice."""
        start, end = self.offset(mutant.start), self.offset(mutant.end)
        # The span of a field has its comma too.
        last = start + 1 if mutant.genre == "StructField" else end
        node = self.tree.root_node.descendant_for_byte_range(start, last)
        wanted = {
            "FnValue": {"function_item"},
            "BinaryOperator": {"binary_expression", "compound_assignment_expr"},
            "UnaryOperator": {"unary_expression"},
            "MatchArmGuard": {"match_arm"},
            "MatchArm": {"match_arm"},
        }.get(mutant.genre, {"field_initializer", "shorthand_field_initializer"})
        while node is not None and node.type not in wanted:
            node = None if node.type == "let_chain" else node.parent
        if node is None or (mutant.genre == "MatchArm" and node.start_byte != start):
            self.left_out[mutant.number] = "in a chain of conditions with a pattern"
            return
        if mutant.genre == "MatchArm" and not is_caught(node):
            self.left_out[mutant.number] = "no other arm"
            return
        if mutant.genre == "FnValue" and returns_some(node):
            self.left_out[mutant.number] = "returns a type of its own"
            return
        span, genre = (node.start_byte, node.end_byte), mutant.genre
        if genre == "FnValue":
            span = (child(node, "body").start_byte + 1,) * 2
        elif genre in ("MatchArm", "MatchArmGuard"):
            pattern = child(node, "pattern")
            guard = pattern.child_by_field_name("condition")
            genre = "guard" if guard else "arm"
            span = (guard.start_byte, guard.end_byte) if guard else (pattern.end_byte,) * 2
        self.grouped[(span[0], span[1], genre)].append(mutant)
        self.nodes[mutant.number] = node

    def chosen(self, mutant: Mutant) -> str:
        """Whether a fault is chosen."""
        return self.choose(self.file, mutant.number)

    def text(self) -> str:
        """The file with every choice that is not left out."""
        choices = [
            Choice(*key, [it for it in faults if it.number not in self.left_out])
            for key, faults in self.grouped.items()
        ]
        # What contains another comes before it; a guard before the operator that it is.
        choices.sort(key=lambda it: (it.start, -it.end, it.genre[0].isupper()))
        return self.part(0, len(self.bytes), [it for it in choices if it.faults])

    def part(self, start: int, end: int, choices: list[Choice]) -> str:
        """A part of the file, with the choices in it."""
        text = ""
        while choices:
            first = choices[0]
            within = [it for it in choices[1:] if it.end <= first.end]
            text += self.bytes[start : first.start].decode()
            text += f"/*<{first.faults[0].number}*/{self.choice(first, within)}/*>*/"
            start = first.end
            choices = choices[1 + len(within) :]
        return text + self.bytes[start:end].decode()

    def either(self, faults: Iterable[Mutant], broken: Callable[[str], str], plain: str) -> str:
        """The broken one of the fault that is chosen, else the plain one."""
        ways = [
            f"if {self.chosen(it)} {{ /*[{it.number}*/ {broken(it.replacement)} /*]*/ }} else "
            for it in faults
        ]
        return f"({''.join(ways)}{{ {plain} }})"

    def choice(self, choice: Choice, within: list[Choice]) -> str:
        """An expression with its faults, and those of what it is made of."""
        start, end, genre, faults = choice
        node = self.nodes[faults[0].number]
        twice = faults[0].number in self.twice

        def sub(span: Span) -> str:
            return self.part(*span, [it for it in within if span[0] <= it.start < span[1]])

        def operand(of: tree_sitter.Node) -> str:
            return sub((of.start_byte, of.end_byte))

        if genre == "FnValue":
            return "".join(
                f" if {self.chosen(it)} {{ /*[{it.number}*/ return {it.replacement}; /*]*/ }}"
                for it in faults
            )
        if genre == "arm":
            return f" if !{self.chosen(faults[0])}"
        if genre == "guard":
            return self.either(faults, lambda new: new or "false", sub((start, end)))
        if genre == "UnaryOperator":
            sign, of = node.children
            ways = self.either(faults, lambda _: "it_", f"{sign.type}it_")
            return f"(match ({operand(of)}) {{ it_ => {ways} }})"
        if genre == "StructField":
            fields = node.parent.children if node.parent else []
            base = next(it for it in fields if it.type == "base_field_initializer")
            name, _, value = self.bytes[start:end].decode().partition(":")
            inner = sub((start, end)).partition(":")[2] if value else name
            whole = self.bytes[base.start_byte + 2 : base.end_byte].decode()
            return f"{name}: {self.either(faults, lambda _: f'({whole}).{name}', inner)}"
        left, right = operand(child(node, "left")), operand(child(node, "right"))
        operator = child(node, "operator").type
        if twice or node.type == "compound_assignment_expr":
            return self.either(
                faults, lambda new: f"{left} {new} {right}", f"{left} {operator} {right}"
            )
        if operator in ("&&", "||"):
            goes_on = "!=" if operator == "&&" else "=="
            chosen = self.chosen(faults[0])
            way = f"if it_ {goes_on} {chosen} {{ {right} }} else {{ it_ }}"
            return f"(match ({left}) {{ it_ => {way} }})"
        # What is compared may be no copy; what is computed with is one.
        ref, at = ("&", "*") if operator in ("==", "!=", "<", ">", "<=", ">=") else ("", "")
        ways = self.either(
            faults, lambda new: f"{at}left_ {new} {at}right_", f"{at}left_ {operator} {at}right_"
        )
        return f"(match ({ref}({left}), {ref}({right})) {{ (left_, right_) => {ways} }})"

    def blame(self, text: str, at: int, code: str) -> bool:
        """Leave out the fault that an error of this text stands in; whether there is one."""
        stack: list[tuple[bytes, int]] = []
        for mark in MARK.finditer(text.encode()[:at]):
            if mark[1]:
                stack.append((mark[1], int(mark[2])))
            else:
                stack.pop()
        if not stack:
            return False
        kind, number = stack[-1]
        group = next(
            [it.number for it in faults if it.number not in self.left_out]
            for faults in self.grouped.values()
            if any(it.number == number for it in faults)
        )
        reason = "not at run time" if code == NOT_CONST else f"does not compile: {code}"
        binds = self.nodes[number].type == "binary_expression"
        if kind == b"[":
            self.left_out[number] = reason
        elif binds and code != NOT_CONST and number not in self.twice:
            self.twice.update(group)
        else:
            self.left_out.update(dict.fromkeys(group, reason))
        return True
