"""What the pages say of the package's objects: their docstrings."""

import inspect
import re
import textwrap
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import griffe
from tables import WIDTH, code, table

import gupstress

_package: list[griffe.Module] = []


def api(*names: str) -> str:
    """Return the documentation of objects, as their docstrings have it."""
    return "\n\n".join(_object(name) for name in names)


def package() -> griffe.Module:
    """Return the package as its source has it, read once."""
    if not _package:
        source = Path(__file__).parent.parent / "python"
        found = griffe.load("gupstress", search_paths=[source], docstring_parser="google")
        assert isinstance(found, griffe.Module)  # noqa: S101 -- for the type checker
        _package.append(found)
    return _package[0]


def _object(name: str) -> str:
    """Return one section; `name` is a path inside the package."""
    found: Any = package()[name]
    public = name in gupstress.__all__
    target = found.final_target if found.is_alias else found
    heading = f"### `{'gupstress.' if public else ''}{target.name}`"
    body = _class(target) if target.is_class else _function(target)
    return f"{heading}\n\n{body}"


def _sections(thing: Any) -> dict[str, Any]:
    parsed = [] if thing.docstring is None else thing.docstring.parsed
    return {section.kind.value: section.value for section in parsed}


def _text(thing: Any) -> str:
    """Return a docstring's words, paragraphs apart."""
    return str(_sections(thing).get("text", "")).strip()


def _line(thing: Any) -> str:
    """Return a docstring's words on one line."""
    return " ".join(_text(thing).split())


def _raises(thing: Any) -> Iterator[str]:
    for one in _sections(thing).get("raises", ()):
        yield f"raises {code(one.annotation)}: {' '.join(one.description.split())}"


def _wrap(text: str, indent: str = "") -> str:
    """Return paragraphs of at most the width of a line."""
    paragraphs = re.split(r"\n\s*\n", text)
    return "\n\n".join(
        textwrap.fill(
            " ".join(paragraph.split()),
            WIDTH,
            initial_indent=indent,
            subsequent_indent=" " * len(indent),
            break_long_words=False,
            break_on_hyphens=False,
        )
        for paragraph in paragraphs
    )


def _function(target: Any) -> str:
    blocks = [_wrap(_text(target))]
    described = _described(target)
    if described:
        known = inspect.signature(getattr(gupstress, target.name)).parameters
        blocks.append(
            table(
                ("argument", "type", "if not given", "meaning"),
                (
                    [
                        code(name),
                        code(target.parameters[name].annotation),
                        "" if default is inspect.Parameter.empty else code(repr(default)),
                        text,
                    ]
                    for name, text in described.items()
                    for default in [known[name].default]
                ),
            )
        )
    ends = [f"returns {code(target.returns)}", *_raises(target)]
    blocks.append("\n".join(_wrap(end, "- ") for end in ends))
    return "\n\n".join(blocks)


def _described(target: Any) -> dict[str, str]:
    return {
        one.name: " ".join(one.description.split())
        for one in _sections(target).get("parameters", ())
    }


def _class(target: Any) -> str:
    blocks = [_wrap(_text(target))]
    if target.name.endswith("Error"):
        blocks.append(f"A kind of {', '.join(code(base) for base in target.bases)}.")
    init = target.members.get("__init__")
    described = _described(target)
    if described and init is not None:
        parameters = {one.name: one for one in init.parameters}
        known = inspect.signature(getattr(import_module(target.module.path), target.name))
        blocks.append(
            table(
                ("argument", "type", "if not given", "meaning"),
                (
                    [
                        code(name),
                        code(parameters[name].annotation),
                        "" if default is inspect.Parameter.empty else code(repr(default)),
                        text,
                    ]
                    for name, text in described.items()
                    for default in [known.parameters[name].default]
                ),
            )
        )
    ends = list(_raises(target))
    if ends:
        blocks.append("\n".join(_wrap(end, "- ") for end in ends))
    fields = [
        [code(one.name), code(one.annotation or ""), _line(one)]
        for one in _public(target)
        if one.is_attribute and _is_field(one)
    ]
    fields += [
        [code(one.name), code(one.annotation or ""), " ".join(one.description.split())]
        for one in _sections(target).get("attributes", ())
    ]
    if fields:
        blocks.append(table(("field", "type", "meaning"), fields))
    methods = [one for one in _public(target) if one.is_function and one.docstring is not None]
    if methods:
        blocks.append("\n".join(map(_method, methods)))
    return "\n\n".join(blocks)


def _public(target: Any) -> Iterator[Any]:
    """Yield what a class has for its users, its own before what it inherits."""
    for one in [*target.members.values(), *target.inherited_members.values()]:
        if not one.name.startswith("_"):
            yield one.final_target if one.is_alias else one


def _is_field(one: Any) -> bool:
    # What `__init__` sets is an argument of it, and explained there.
    declared = one.value is None or "class-attribute" in one.labels
    return one.name != "model_config" and (declared or one.docstring is not None)


def _method(target: Any) -> str:
    parameters = ", ".join(_parameter(one) for one in target.parameters if one.name != "self")
    returns = "" if str(target.returns) == "None" else f" -> {target.returns}"
    lines = [_wrap(f"`{target.name}({parameters}){returns}`: {_line(target)}", "- ")]
    lines += [_wrap(f"`{name}`: {text}", "  - ") for name, text in _described(target).items()]
    lines += [_wrap(end, "  - ") for end in _raises(target)]
    return "\n".join(lines)


def _parameter(one: griffe.Parameter) -> str:
    if one.kind is griffe.ParameterKind.var_positional:
        return f"*{one.name}"
    return one.name if one.default is None else f"{one.name}={one.default}"
