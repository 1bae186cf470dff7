"""The document by which a model is monitored: written, read, and refused where its parts do not fit."""

import msgspec
import pytest

from edgemm.errors import BundleError
from edgemm.monitoring import MonitorDocument, monitor_document
from edgemm.monitoring.monitor_document import FEATURES, MAX_BYTES, FeatureProfile, Map, Modality
from tests.monitors import COLUMNS, float32, small_document


def read_with(**changes: object) -> MonitorDocument:
    return monitor_document.decode(monitor_document.encode(small_document(**changes)))


def test_what_is_written_is_read_and_the_same_bytes_come_each_time() -> None:
    document = small_document()
    data = monitor_document.encode(document)
    assert monitor_document.decode(data) == document
    assert monitor_document.encode(monitor_document.decode(data)) == data


def test_a_newer_format_is_refused_and_newer_fields_are_skipped() -> None:
    plain = msgspec.msgpack.decode(monitor_document.encode(small_document()))
    with pytest.raises(BundleError, match="format 2.0, this edgemm reads 1.0: upgrade it"):
        monitor_document.decode(msgspec.msgpack.encode({**plain, "format": "2.0", "heads": "other"}))
    newer = msgspec.msgpack.encode({**plain, "format": "1.7", "added": [1, 2]})
    assert monitor_document.decode(newer).clean_accuracy == small_document().clean_accuracy


def test_words_of_a_later_version_are_kept() -> None:
    maps = msgspec.structs.replace(small_document().maps, chosen=Map("spline"))
    view = msgspec.structs.replace(small_document().view, modality=Modality("video"))
    found = read_with(maps=maps, view=view)
    assert (found.maps.chosen, found.view.modality) == ("spline", "video")
    assert not found.maps.chosen.known


@pytest.mark.parametrize(
    ("part", "changes", "said"),
    [
        ("maps", {"weights": b"\0" * 8}, "maps.weights has 8 bytes, expected"),
        ("maps", {"accuracy": b""}, "maps.accuracy has 0 bytes"),
        ("interval", {"landmarks": b"\0" * 12}, "interval.landmarks has 12 bytes, expected a multiple"),
        ("interval", {"weights": (1.0,)}, "interval has 1 weights, expected 5"),
    ],
)
def test_parts_that_do_not_fit_are_refused(part: str, changes: dict[str, object], said: str) -> None:
    document = small_document()
    with pytest.raises(BundleError, match=said):
        read_with(**{part: msgspec.structs.replace(getattr(document, part), **changes)})


NOTHING, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("part", "changes", "said"),
    [
        ("maps", {"intercept": NOTHING}, "intercept has a number that is not finite"),
        ("maps", {"scale": float32([0.0] * FEATURES)}, "scale has a number that is not above 0"),
        ("maps", {"weights": float32([INFINITE] * FEATURES)}, "weights has a number that is not finite"),
        ("maps", {"agreement": float32([1.0, 0.5])}, "agreement has numbers that do not rise"),
        ("interval", {"scale": float32([-1.0] * FEATURES)}, "scale has a number that is not above 0"),
        ("interval", {"weights": (NOTHING,) * 5}, "weights has a number that is not finite"),
        ("trial", {"mean_error": NOTHING}, "mean_error has a number that is not finite"),
        ("trial", {"by_map": {"isotonic": INFINITE}}, "by_map has a number that is not finite"),
        ("view", {"scale": float32([0.0] * COLUMNS)}, "scale has a number that is not above 0"),
        ("view", {"centre": b"\0"}, "centre has 1 bytes, expected a multiple of 4"),
        ("view", {"centre": b""}, "0 centres and 4 scales"),
        ("view", {"features": (1, 2)}, "2 features with 4 centres, and the heads take 4"),
        ("view", {"modality": Modality.IMAGE, "rows": 8192, "columns": 8192}, "8192 × 8192 places, and the heads take"),
        ("view", {"modality": Modality.IMAGE, "low": 1.0}, "white at 1 and black at 1"),
        ("view", {"modality": Modality.SIGNAL, "rows": 8192}, "8192 × 4 numbers, and the heads take 4"),
    ],
)
def test_numbers_that_cannot_be_reckoned_with_are_refused(part: str, changes: dict[str, object], said: str) -> None:
    with pytest.raises(BundleError, match=said):
        read_with(**{part: msgspec.structs.replace(getattr(small_document(), part), **changes)})


@pytest.mark.parametrize(
    ("edges", "counts"), [((), (0, 0)), ((1.0,), (0, 0, 0)), ((0.0, 1.0), (0, 0)), ((1.0, 0.0), (0,) * 4)]
)
def test_profiles_without_bins_are_refused(edges: tuple[float, ...], counts: tuple[int, ...]) -> None:
    with pytest.raises(BundleError, match="two more, of two|do not rise"):
        read_with(profile=(FeatureProfile(name="x", edges=float32(edges), counts=counts, low=0.0, high=1.0),))


def test_heads_that_do_not_fit_the_classes_are_refused() -> None:
    with pytest.raises(BundleError, match="do not fit each other and the classes"):
        read_with(classes=5)
    head = small_document().heads[0]
    short = msgspec.structs.replace(head, hidden=msgspec.structs.replace(head.hidden, weights=b"\1"))
    with pytest.raises(BundleError, match="weights or biases of another size"):
        read_with(heads=(short, head, head))


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x80", b"{}", b"\x81\xa6format\xa31.0", b"\x91" * 5000])
def test_what_is_no_document_is_refused(data: bytes) -> None:
    with pytest.raises(BundleError, match="document 'monitor'"):
        monitor_document.decode(data)


def test_a_document_that_is_too_large_is_not_looked_at() -> None:
    with pytest.raises(BundleError, match="expected at most 65,536"):
        monitor_document.decode(b"\0" * (MAX_BYTES + 1))
