"""The conversion of vectorizers of texts: CountVectorizer and TfidfVectorizer, of words and of sequences of them.

Words are found by the usual token patterns of scikit-learn. Lower case is that of the locale C.UTF-8, which every glibc
has; Python's is another for two letters alone, and a vocabulary with them is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgemm.errors import ConversionError
from edgemm_converter.table_columns.graph_parts import ColumnPart, Nodes

_WORD = r"[\p{L}\p{N}_]"
_PATTERNS = {
    r"(?u)\b\w\w+\b": _WORD + "{2,}", r"\b\w\w+\b": _WORD + "{2,}",
    r"(?u)\b\w+\b": _WORD + "+", r"\b\w+\b": _WORD + "+",
    r"\w+": _WORD + "+", r"(?u)\w+": _WORD + "+", r"\w{2,}": _WORD + "{2,}",
}  # fmt: skip
"""scikit-learn's patterns → RE2's: without look at word boundaries, for a match is as long as it can be."""

_PAD = "\ufdd1"
_OTHER_LOWER = ("ς", "i\u0307")
"""What Python's `lower` makes of a capital at the end of a word, or of a dotted one, and no locale does."""

_LOCALE = "C.UTF-8"
_MICROSOFT = "com.microsoft"


def counts(nodes: Nodes, step: Any, parts: list[ColumnPart]) -> list[ColumnPart]:
    """Return how often each word of the vocabulary is in a text.

    Raises:
        ConversionError: it finds words in another way than is converted.
    """
    _check(step)
    flat = nodes.add("Reshape", parts[0].name, nodes.constant(np.array([-1], np.int64)))
    if step.lowercase:
        flat = nodes.add(
            "StringNormalizer", flat, case_change_action="LOWER", is_case_sensitive=1, locale=_LOCALE
        )  # fmt: skip
    tokens = nodes.add(
        "Tokenizer", flat, domain=_MICROSOFT, mark=0, mincharnum=1, pad_value=_PAD,
        tokenexp=_PATTERNS[step.token_pattern],
    )  # fmt: skip
    found = nodes.add("TfIdfVectorizer", tokens, mode="TF", max_skip_count=0, **_pool(step))
    found = nodes.cast(found, nodes.kind) if nodes.kind != "float32" else found
    if step.binary:
        found = nodes.add("Min", found, nodes.constant(np.array(1, nodes.kind)))
    return [ColumnPart(found, nodes.number, len(step.vocabulary_))]


def weighted(nodes: Nodes, step: Any, parts: list[ColumnPart]) -> list[ColumnPart]:
    """Return the counts of words as TfidfVectorizer weighs them.

    Raises:
        ConversionError: as `counts`.
    """
    (found,) = counts(nodes, step, parts)
    name = found.name

    def number(value: Any) -> str:
        return nodes.constant(np.array(value, nodes.kind))

    if step.sublinear_tf:
        present = nodes.add("Greater", name, number(0))
        one_more = nodes.add("Add", nodes.add("Log", nodes.add("Where", present, name, number(1))), number(1))
        name = nodes.add("Where", present, one_more, number(0))
    if step.use_idf:
        name = nodes.add("Mul", name, number(step.idf_[np.newaxis]))
    if step.norm:
        size = nodes.add("Mul", name, name) if step.norm == "l2" else nodes.add("Abs", name)
        size = nodes.add("ReduceSum", size, nodes.constant(np.array([1], np.int64)), keepdims=1)
        size = nodes.add("Sqrt", size) if step.norm == "l2" else size
        size = nodes.add("Where", nodes.add("Greater", size, number(0)), size, number(1))
        name = nodes.add("Div", name, size)
    return [ColumnPart(name, found.dtype, found.width)]


def _check(step: Any) -> None:
    name, words = type(step).__name__, step.vocabulary_
    wrong = [
        f"{option}={getattr(step, option)!r}"
        for option, usual in (
            ("analyzer", "word"),
            ("strip_accents", None),
            ("preprocessor", None),
            ("tokenizer", None),
        )
        if getattr(step, option) != usual
    ]
    if step.token_pattern not in _PATTERNS:
        wrong.append(f"token_pattern={step.token_pattern!r}")
    if step.ngram_range[1] > 1 and step.stop_words is not None:
        wrong.append("stop_words with an ngram_range of several words")
    if wrong:
        raise ConversionError(
            f"{name} with {wrong[0][:120]} is not converted: edgemm converts words by scikit-learn's own token patterns"
        )
    if step.lowercase and (word := next((one for one in words if any(c in one for c in _OTHER_LOWER)), None)):
        raise ConversionError(
            f"{name}: the word {word!r} of its vocabulary has a letter whose lower case depends on where it stands: "
            "train with lowercase=False, and write texts in lower case before the model"
        )


def _pool(step: Any) -> Mapping[str, Any]:
    """Return the vocabulary as TfIdfVectorizer of ONNX has it: sequences of words by their length, and their places."""
    least, most = step.ngram_range
    by_length: dict[int, list[tuple[list[str], int]]] = {length: [] for length in range(1, most + 1)}
    for word, place in sorted(step.vocabulary_.items(), key=lambda item: int(item[1])):
        sequence = word.split(" ")
        if len(sequence) in by_length:
            by_length[len(sequence)].append((sequence, int(place)))
    starts, pool, places = list[int](), list[str](), list[int]()
    for length in range(1, most + 1):
        starts.append(len(pool))
        for sequence, place in by_length[length]:
            pool += sequence
            places.append(place)
    return {
        "min_gram_length": least, "max_gram_length": most, "ngram_counts": starts, "ngram_indexes": places,
        "pool_strings": pool,
    }  # fmt: skip
