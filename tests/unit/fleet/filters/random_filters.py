"""Random filters and devices over few words, so that they meet."""

from __future__ import annotations

from hypothesis import strategies as st

from edgemm_fleet.filters import DeviceFacts
from edgemm_fleet.filters.closures import FactKey
from edgemm_fleet.filters.expressions import FactSubject

NOW = 1_800_000_000.0
MODELS = ("digits", "gestures")
LABELS = ("site", "ring", "version", "hall no")
VALUES = ("a", "plant-7", "plant-70", "1.2", "1.10.0", "2.0.0-rc.1", "12", "", "é b")
VERSIONS = ("1.0.0", "1.2.0-rc.2", "1.2.0-rc.10", "1.2.0", "1.10.0", "2.14.0rc1", "2.14")
STATES = ("committed", "failed", "downloading")
_RANKED = st.sampled_from(["<", "<=", ">", ">="])
_SAME = st.sampled_from(["=", "!="])
_quoted = st.sampled_from(VALUES).map('"{}"'.format)
_name = st.sampled_from(LABELS).map('"{}"'.format)

terms = st.one_of(
    st.builds("{}{}{}".format, _name, st.sampled_from(["=", "!=", "^="]), _quoted),
    st.builds("{}{}{}".format, _name, _RANKED, st.sampled_from(["1.2", "12", "1.10.0-a"])),
    st.builds("label:{}".format, _name),
    st.builds("version{}{}".format, _RANKED | _SAME, st.sampled_from(VERSIONS)),
    st.builds("state:{}".format, st.sampled_from(STATES)),
    st.builds("model:{}".format, st.sampled_from([*MODELS, "none"])),
    st.builds("engine{}tflite@{}".format, _RANKED | _SAME, st.sampled_from(VERSIONS)),
    st.builds("engine:{}".format, st.sampled_from(["tflite", "onnx"])),
    st.builds("runtime{}{}".format, _RANKED | _SAME, st.sampled_from(VERSIONS)),
    st.builds("arch:{}".format, st.sampled_from(["aarch64", "x86_64"])),
    st.builds("os:{}".format, st.just("linux")),
    st.builds("id{}{}".format, st.sampled_from(["=", "!=", "^="]), st.sampled_from(["cam-1", "cam-", "lens-2", "c"])),
    st.builds("seen{}{}".format, _RANKED, st.sampled_from(["0s", "1h", "2.5h", "1d"])),
    st.just("online"),
)
texts = st.recursive(
    terms,
    lambda parts: st.one_of(
        st.builds("not {}".format, parts.map("({})".format) | terms),
        st.lists(parts.map("({})".format) | terms, min_size=2, max_size=4).map(" ".join),
        st.lists(parts, min_size=2, max_size=3).map(" or ".join),
    ),
    max_leaves=8,
)


@st.composite
def devices(draw: st.DrawFn, *, device: str = "cam-1") -> DeviceFacts:
    values: dict[FactKey, tuple[str, ...]] = {
        (FactSubject.LABEL, name): (value,)
        for name, value in draw(st.dictionaries(st.sampled_from(LABELS), st.sampled_from(VALUES), max_size=3)).items()
    }
    for model in draw(st.sets(st.sampled_from(MODELS))):
        values[FactSubject.STATE, model] = (draw(st.sampled_from(STATES)),)
        if version := draw(st.none() | st.sampled_from(VERSIONS)):
            values[FactSubject.VERSION, model] = (version,)
    for model in draw(st.sets(st.sampled_from(MODELS))):
        values[FactSubject.OUTCOME, model] = ("failed",)
    for engine in draw(st.sets(st.sampled_from(["tflite", "onnx"]))):
        values[FactSubject.ENGINE, engine] = (draw(st.sampled_from([*VERSIONS, "unknown"])),)
    values[FactSubject.RUNTIME, ""] = (draw(st.sampled_from(VERSIONS)),)
    values[FactSubject.ARCH, ""] = (draw(st.sampled_from(["aarch64", "x86_64"])),)
    values[FactSubject.OS, ""] = ("linux",)
    ago = draw(st.none() | st.sampled_from([0.0, 10.0, 3600.0, 7200.0, 1e6]))
    return DeviceFacts(id=device, online=draw(st.booleans()), seen_at=None if ago is None else NOW - ago, values=values)
