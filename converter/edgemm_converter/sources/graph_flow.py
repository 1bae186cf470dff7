"""The flow of values through a graph of TensorFlow, down through the functions, loops and branches that it calls. Pure.

It reads a GraphDef. A value is (function, node, port): the function is "" in the graph itself, and the port counts the
results of calls alone. What flows through a variable is not followed: a variable that a graph writes and that an output
needs is `reached` as the placeholder of its handle.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgemm_converter.judging.reachability import Flow, GraphOperation

_RANDOM = frozenset({
    "AllCandidateSampler", "FixedUnigramCandidateSampler", "LearnedUnigramCandidateSampler",
    "LogUniformCandidateSampler", "Multinomial", "NonDeterministicInts", "ParameterizedTruncatedNormal", "RandomCrop",
    "RandomGamma", "RandomPoisson", "RandomPoissonV2", "RandomShuffle", "RandomStandardNormal", "RandomUniform",
    "RandomUniformInt", "RngReadAndSkip", "RngSkip", "SampleDistortedBoundingBox", "SampleDistortedBoundingBoxV2",
    "StatefulRandomBinomial", "StatefulStandardNormal", "StatefulStandardNormalV2", "StatefulTruncatedNormal",
    "StatefulUniform", "StatefulUniformFullInt", "StatefulUniformInt", "ThreadUnsafeUnigramCandidateSampler",
    "TruncatedNormal", "UniformCandidateSampler",
})  # fmt: skip
"""Kinds that draw from a state of their own, whatever seed they have. The `Stateless…` kinds are functions of a seed:
one that is constant always gives the same, and one that is counted up is a variable that the graph writes."""

_UNLESS_DETERMINISTIC = frozenset({"FractionalAvgPool", "FractionalMaxPool"})
_LOOPS = frozenset({"While", "StatelessWhile"})
_BRANCHES = frozenset({"If", "StatelessIf", "Case", "StatelessCase"})
_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
_SWITCHES, _MERGES = frozenset({"Switch", "RefSwitch"}), frozenset({"Merge", "RefMerge"})
_WITH_PORTS = _LOOPS | _BRANCHES | _CALLS | _SWITCHES
_ALIASES = frozenset({"Identity", "PlaceholderWithDefault"})
Value = tuple[str, str, int]


def of_graph(graph: Any) -> Flow:
    """Return the flow through a `tf.Graph`, whose values are found by `value`."""
    definition = graph.as_graph_def()
    functions = {f.signature.name: f for f in definition.library.function}
    flow = Flow()
    _Body("", definition.node, functions).add_to(flow)
    for name, function in functions.items():
        _Body(name, function.node_def, functions).add_to(flow)
    return flow


def value(tensor: Any) -> Value:
    """Return the value that a tensor of the graph itself is."""
    return ("", tensor.op.name, tensor.value_index if tensor.op.type in _WITH_PORTS else 0)


def captured(graph: Any, outputs: Iterable[Any]) -> list[Any]:
    """Return what a traced graph took from outside it that tensors of it need, such as the handles of variables.

    A variable that is written and is not among them changes no answer.
    """
    reached = of_graph(graph).reached(value(tensor) for tensor in outputs)
    return [outside for outside, inside in graph.captures if value(inside) in reached]


class _Body:
    """The nodes of the graph itself or of one function."""

    def __init__(self, name: str, nodes: Sequence[Any], functions: Mapping[str, Any]) -> None:
        self._name, self._nodes, self._functions = name, nodes, functions
        self._by_name = {node.name: node for node in nodes}
        self._dead: set[Value] = set()

    def add_to(self, flow: Flow) -> None:
        """Add all operations; values of functions need what their callers give."""
        for node in self._nodes:
            takes = [self._value(text) for text in node.input if not text.startswith("^")]
            self._bury(node)
            if node.op in _LOOPS:
                self._add_loop(flow, node, takes)
            elif node.op in _BRANCHES:
                for called in self._branches(node):
                    self._add_call(flow, node, takes[1:], called, always=takes[:1])
            elif node.op in _CALLS:
                self._add_call(flow, node, takes, node.attr["f"].func.name, always=[])
            else:
                self._add_plain(flow, node, takes)

    def results(self) -> list[Value]:
        """Return the values that the function returns."""
        function = self._functions[self._name]
        return [self._value(function.ret[result.name]) for result in function.signature.output_arg]

    def arguments(self) -> list[Value]:
        """Return the values that the function takes."""
        return [(self._name, argument.name, 0) for argument in self._functions[self._name].signature.input_arg]

    def _value(self, text: str) -> Value:
        """Return the value that an input such as `node:1` names, in a function `node:output:1`."""
        name, *port = text.split(":")
        node = self._by_name.get(name)
        if node is None or node.op not in _WITH_PORTS or not port:
            return (self._name, name, 0)
        return (self._name, name, 1 if port[0] == "output_true" else int(port[-1]))

    def _function(self, name: str) -> _Body:
        return _Body(name, self._functions[name].node_def, self._functions)

    def _add_plain(self, flow: Flow, node: Any, takes: list[Value]) -> None:
        """Add one operation; one that calls functions in a way of its own needs all that they return."""
        if node.op in _MERGES:
            takes = [value for value in takes if value not in self._dead]
        for called in (self._function(name) for name in self._called(node)):
            for argument in called.arguments():
                flow.need(argument, *takes)
            takes = [*takes, *called.results()]
        operation = GraphOperation(node.name, node.op, random=_is_random(node))
        gives = [(self._name, node.name, port) for port in range(2 if node.op in _SWITCHES else 1)]
        flow.add(operation, gives=gives, takes=takes)

    def _add_call(self, flow: Flow, node: Any, takes: list[Value], name: str, *, always: list[Value]) -> None:
        called = self._function(name)
        for position, result in enumerate(called.results()):
            flow.need((self._name, node.name, position), result, *always)
        for argument, given in zip(called.arguments(), takes, strict=True):
            flow.need(argument, given)

    def _add_loop(self, flow: Flow, node: Any, takes: list[Value]) -> None:
        body, condition = (self._function(node.attr[key].func.name) for key in ("body", "cond"))
        # A loop that is run no time at all returns what it takes.
        for position, given in enumerate(takes):
            flow.need((self._name, node.name, position), given, *condition.results())
        self._add_call(flow, node, takes, node.attr["body"].func.name, always=[])
        for repeated, asked, result in zip(body.arguments(), condition.arguments(), body.results(), strict=True):
            flow.need(repeated, result)
            flow.need(asked, repeated)

    def _branches(self, node: Any) -> list[str]:
        """Return the branches that can be taken: one alone where the condition is constant, as a learning phase is."""
        if node.op in ("Case", "StatelessCase"):
            return [function.name for function in node.attr["branches"].list.func]
        both = [node.attr[key].func.name for key in ("else_branch", "then_branch")]
        known = self._constant(node.input[0])
        return both if known is None else [both[known]]

    def _constant(self, text: str) -> bool | None:
        """Return the value of a condition that is constant; None is not known."""
        node = self._by_name.get(text.partition(":")[0])
        while node is not None and node.op in _ALIASES:
            node = self._by_name.get(node.input[0].partition(":")[0])
        if node is None or node.op != "Const":
            return None
        values = list(node.attr["value"].tensor.bool_val)
        return bool(values[0]) if len(values) == 1 else None

    def _bury(self, node: Any) -> None:
        """Note what never runs: the side of a switch that a constant condition leaves out, and all that follows."""
        if node.op in _SWITCHES and (known := self._constant(node.input[1])) is not None:
            self._dead.add((self._name, node.name, int(not known)))
        before = [self._value(text.removeprefix("^")) for text in node.input]
        if node.op not in _MERGES and any(value in self._dead for value in before):
            self._dead.update((self._name, node.name, port) for port in (0, 1))

    def _called(self, node: Any) -> list[str]:
        """Return the functions that a node of a kind without rules here names."""
        one = [attribute.func.name for attribute in node.attr.values() if attribute.HasField("func")]
        several = [function.name for attribute in node.attr.values() for function in attribute.list.func]
        return [name for name in (*one, *several, node.op) if name in self._functions]


def _is_random(node: Any) -> bool:
    return node.op in _RANDOM or (node.op in _UNLESS_DETERMINISTIC and not node.attr["deterministic"].b)
