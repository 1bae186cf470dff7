import codecs

import pytest

from edgemm import plain_text
from edgemm.errors import InputError


@pytest.mark.parametrize("text", ["", "größe\nmm\n", "a", "1"])
def test_a_byte_order_mark_is_not_part_of_the_text(text: str) -> None:
    for data in (text.encode(), codecs.BOM_UTF8 + text.encode()):
        assert plain_text.read(data, name="l.txt") == text
        assert plain_text.without_mark(data, name="l.txt") == text.encode()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_utf_16_and_32_are_named(encoding: str) -> None:
    what = "UTF-32" if encoding == "utf-32" else "UTF-16"
    for reader in (plain_text.read, plain_text.without_mark):
        with pytest.raises(InputError, match=rf"l.txt: expected text in UTF-8, found {what}: save it as UTF-8"):
            reader("cat\ndog\n".encode(encoding), name="l.txt")


def test_bytes_of_another_encoding_are_named_with_their_line() -> None:
    with pytest.raises(InputError, match=r"l.txt, line 2: expected text in UTF-8, found the byte 0xf6: save it as"):
        plain_text.read("cat\nlöwe\n".encode("latin-1"), name="l.txt")
