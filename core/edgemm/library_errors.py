"""Errors of engines and compilers in plain words; what the library itself says goes to the log alone.

    raise EngineError(f"LiteRT failed: {library_errors.plain(err)}") from err

What a library says is written for those who build it: codes, C++ files, paths of the machine that it was built on, a
stack. Of that text a `LibraryFailure` keeps what happened and to which operation; `plain` says that in a sentence. The
text is logged at DEBUG. Commands print it with `--verbose` (`verbose_option`), which the environment hands on to child
processes: they log to their stderr (`follow_parent`), and the parent prints that when a child has ended.

What a layer or custom code of a model says is written for the model's user: `quoted` returns its first sentence,
without what `plain` leaves out.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from edgemm.outlet.log_lines import LogLine

if TYPE_CHECKING:
    import click

_log = logging.getLogger(__name__)
_VARIABLE = "EDGEMM_VERBOSE"
F = TypeVar("F", bound=Callable[..., object])
_UNKNOWN = "for a reason that edgemm does not know (--verbose prints the library's own words)"
_LONGEST_NAME, _LONGEST_QUOTE, _LONGEST_LOGGED = 80, 200, 4000


@dataclass(frozen=True)
class LibraryFailure:
    """What a library's error is about: an operation, its place, and what is wrong with it.

    `node` is what the file calls the operation, `index` its position in the file; each is empty where that is unknown.
    """

    reason: str
    operation: str = ""
    node: str = ""
    index: int | None = None

    def words(self, layer: str = "") -> str:
        """Say it in a sentence that goes on after "LiteRT failed: "; `layer` is the operation's, where it is known."""
        if not self.operation:
            return self.reason
        if layer:
            where = f" (layer {layer!r})"
        elif self.index is not None:
            where = f" (number {self.index} in the file)"
        else:
            where = f" ({self.node!r})" if self.node else ""
        return f"operation {self.operation}{where} {self.reason}"


_MISSING = "is not one that it has, or not for values of these types"
_DAMAGED = "the file is damaged, or of another format"
_MEMORY = r"bad_alloc|out of memory|OOM when|[Ff]ailed to allocate (?!tensors)|RESOURCE_EXHAUSTED"
_LACKING = (
    r"unresolved custom op|Select TensorFlow op|NOT_IMPLEMENTED|Could not find an implementation|No Op registered|not "
    r"a registered function|[Oo]p \[.*\] is not supported|Unsupported ops|[Nn]o kernel"
)
_NEWER = (
    r"Didn't find op for builtin opcode|newer model|schema version|nsupported model IR version|opset \d+ is under|till "
    r"opset"
)
_BROKEN = (
    r"identifier|INVALID_PROTOBUF|[Pp]rotobuf parsing|not a valid [Ff]latbuffer|is not flatbuffer|Could not open|buffer"
    r" (?:is|too) s|out of file bounds|exceeds the file|unpack_from|Model provided|invalidly specified"
)
_OF_TYPES = (
    r"[Tt]ype '?[\w()]+'? (?:\S+ )*(?:is|was|are|currently) (?:\S+ )*(?:not |un|in)|[Tt]ype [Ee]rror|nsupported (?:data"
    r" |tensor )?type|[Uu]nexpected (?:input )?data type|different types|[Tt]ype mismatch|must be (?:a |of )?(?:the )?"
    r"(?:same )?(?:d?type|float|int)|only supports? |kTfLite\w+\)? != |->type [!=]= "
)
_OF_INDICES = r"(?:indices|index)\b.*(?: not in |out of|outside)|OUT_OF_RANGE|out.of.(?:bounds|range)"
_OF_SHAPES = (
    r"[Dd]imension|[Ss]hape|NumDimensions|num_input_elements|[Bb]roadcast|[Ii]ncompatible|\brank\b|Got: \d+ Expected"
    r"|NumElements|SizeOfDimension|reshape|[Ss]izes? of|ScalesValidation|scale values"
)
_OF_RULES = r"INVALID_GRAPH|[Ii]nvalid (?:model|graph)|schema inference|attribute"
_REASONS: tuple[tuple[str, str, str], ...] = (
    (_MEMORY, "needs more memory than there is", "there is not enough memory"),
    (_LACKING, _MISSING, "the file has an operation that it does not have"),
    (_NEWER, "is newer than it", "the file was made for a newer version of it"),
    (_BROKEN, _DAMAGED, _DAMAGED),
    (_OF_TYPES, "does not take values of these types", "it does not take values of these types"),
    (_OF_INDICES, "was given an index that is outside of its table", "an index is outside of its table"),
    (_OF_SHAPES, "does not compute values of these shapes", "it does not compute values of these shapes"),
    (r"divi(?:de|sion) by (?:0|zero)", "divides by zero", "an operation divides by zero"),
    (_OF_RULES, "breaks a rule of the format", "the file breaks a rule of its format"),
)
"""Patterns with what is wrong with an operation, or with a file where no operation is named; the first that fits."""

_OPERATIONS = (
    r"Node number (?P<index>\d+) \((?P<operation>[\w.:]+)\) failed",
    r"unresolved custom op: (?P<operation>[\w.:]+)",
    r"builtin opcode '(?P<operation>\w+)'",
    r"builtin_code out of range: (?P<operation>\d+)",
    r"running (?P<operation>\w+) node\. Name:'(?P<node>[^']*)'",
    r"implementation for (?P<operation>\w+)\(\d+\) node with name '(?P<node>[^']*)'",
    r"In Node, \(?\"(?P<node>[^\"]*)\", (?P<operation>\w+)",
    r"No Op registered for (?P<operation>\w+)",
    r"of operator \((?P<operation>\w+)\) in node \((?P<node>[^)]*)\)",
    r"for operator (?P<operation>\w+)",
    r"(?P<operation>[\w.]+:\w+)\(-?\d+\) is not a registered function",
    r"Optype \((?P<operation>\w+)\)(?:.*? node \((?P<node>[^)]*)\))?",
    r"[Oo]p \[(?P<node>[^:\]]*): (?P<operation>\w+)\] is not supported",
    r"Node:(?P<node>\S+) .*?Op(?:Type)?:(?P<operation>\w+)",
    r"\{\{node (?P<node>[^}]+)\}\}",
    r"Detected at node (?P<node>\S+) defined",
    r"\[Op:(?P<operation>(?!__)\w+)\]",
    r"Op ?[Tt]ype:? (?P<operation>\w+)",
    r"op_type: ?\"?(?P<operation>\w+)",
)
"""How libraries name an operation, the most telling first."""

_OF_ENGINES = re.compile(
    r"\[ONNXRuntimeError\]|Node number \d+ \(|XNNPACK|Graph execution error|\{\{node |unresolved custom op|Select "
    r"TensorFlow op|builtin opcode|make_sure failure|std::|Traceback \(most recent"
)
"""What no code of a model says."""

_PLACES = (
    r"(?:(?<![\w:/])(?:~|\.{1,2})?(?:/[\w.+@-]+){2,}/?|[\w/+-]+\.(?:cc|cpp|h|hpp|cu|py)\b)(?:(?::|,? line )\d+:?)?"
)
"""Paths, and names of source files, with a line's number."""

_DELEGATES = ("TfLiteXNNPackDelegate", "DELEGATE")
"""Names of whole parts of a graph, which tell nothing of an operation."""


def plain(err: BaseException | str, *, layer: Callable[[LibraryFailure], str] | None = None) -> str:
    """Return in plain words what an engine or a compiler failed at, and log its own words.

    `layer` finds the layer of the model that an operation belongs to, "" where it is of none.
    """
    found = failure(err)
    note(err)
    return found.words(layer(found) if layer is not None and found.operation else "")


def note(err: BaseException | str) -> None:
    """Log a library's own words alone, in one line that is not without bound."""
    kind = "" if isinstance(err, str) else f"{type(err).__name__}: "
    text = " ".join(f"{kind}{err}".split())[:_LONGEST_LOGGED]
    _log.debug("a library's own words: %s", "".join(c if c.isprintable() else "?" for c in text))


def failure(err: BaseException | str) -> LibraryFailure:
    """Return what a library's error, or its text, is about."""
    text = str(err)
    named = _named(text)
    about = _reason(err, text, of_operation=bool(named.operation))
    return LibraryFailure(f"{about}{_figures(text)}", named.operation, named.node, named.index)


def quoted(err: BaseException, *, layer: Callable[[LibraryFailure], str] | None = None) -> str:
    """Return the first sentence of what code of a model, or Keras about it, says; the whole is logged.

    Without control characters, paths, addresses, and names of C++ files; the name of the error where it says nothing.
    Where an engine said it, that is what `plain` returns.
    """
    if _OF_ENGINES.search(str(err)):
        return plain(err, layer=layer)
    note(err)
    lines = [" ".join(line.split()) for line in str(err).splitlines() if line.strip()]
    text = re.sub(r"\{\{[^}]*\}\} ?|\[Op:\w+\]", "", " ".join(lines))
    text = re.sub(_PLACES, "…", text)
    text = re.sub(r"<([\w.]+) object at 0x[0-9a-f]+>", r"\1", text)
    text = "".join(c if c.isprintable() else " " for c in text)
    first = re.split(r"(?<=[^.\s]{2})\.\s+(?=[A-Z])", text, maxsplit=1)[0].strip().removesuffix(".")
    if not first:
        return type(err).__name__
    return first if len(first) <= _LONGEST_QUOTE else f"{first[: _LONGEST_QUOTE - 1]}…"


def chain(err: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those that it came from."""
    while err is not None:
        yield err
        err = err.__cause__


def _named(text: str) -> LibraryFailure:
    for pattern in _OPERATIONS:
        for match in re.finditer(pattern, text, re.DOTALL):
            parts = match.groupdict()
            operation = parts.get("operation") or ""
            node = parts.get("node") or ""
            if not operation and node:
                operation = re.sub(r"_\d+$", "", node.rpartition("/")[2])
            if operation and operation not in _DELEGATES:
                index = parts.get("index")
                return LibraryFailure("", _name(operation), _name(node), int(index) if index else None)
    flex = re.search(r"\b(Flex\w+)\b", text)
    return LibraryFailure("", _name(flex[1])) if flex else LibraryFailure("")


def _reason(err: BaseException | str, text: str, *, of_operation: bool) -> str:
    if isinstance(err, MemoryError):
        text = "out of memory"
    for pattern, of_one, of_all in _REASONS:
        if re.search(pattern, text, re.DOTALL):
            return of_one if of_operation and of_one != _DAMAGED else of_all
    return f"failed {_UNKNOWN}" if of_operation else f"it failed {_UNKNOWN}"


def _name(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)[:_LONGEST_NAME]


def _figures(text: str) -> str:
    """Return the numbers that an error is about, in parentheses, where there are some."""
    if found := re.search(r"\[[\d,]*\] = (-?\d+) is not in \[(-?\d+), ?(-?\d+)\)", text):
        return f" (index {found[1]}, of {found[2]} to {int(found[3]) - 1})"
    if found := re.search(r"idx=(-?\d+) must be within the inclusive range \[(-?\d+),(-?\d+)\]", text):
        return f" (index {found[1]}, of {found[2]} to {found[3]})"
    if found := re.search(r"[Gg]ot:? (\d+) (?:but )?[Ee]xpected:? (\d+)", text):
        return f" (expected a size of {found[2]}, found {found[1]})"
    return ""


def verbose_option(command: F) -> F:
    """Give a command the option `--verbose`."""
    import click  # here: children have no command line

    return click.option(
        "--verbose", is_flag=True, expose_value=False, callback=_begin, help="Print what libraries say of what failed."
    )(command)


def follow_parent() -> None:
    """Log all that edgemm notes to stderr, in a process whose parent was asked for that."""
    if os.environ.get(_VARIABLE):
        _log_to_stderr()


def _begin(_context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:  # noqa: FBT001 - click's
    if wanted:
        os.environ[_VARIABLE] = "1"
        _log_to_stderr()


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(LogLine("%(name)s: %(message)s"))
    handler.addFilter(lambda record: record.name.startswith("edgemm"))
    logging.basicConfig(level=logging.DEBUG, handlers=[handler], force=True)  # noqa: TID251 - with the handler above
