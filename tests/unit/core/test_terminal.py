import pytest

from edgemm.terminal import plain_console, plain_table


def test_what_looks_like_markup_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    console, table = plain_console(), plain_table("name", "advice")
    table.add_row("[red]pi[/]", "pip install 'edgemm[onnx]' :smile: " + "x" * 200)
    console.print(table)
    console.print("[/] [bold]")
    out = capsys.readouterr().out
    assert "[red]pi[/]" in out
    assert "pip install 'edgemm[onnx]' :smile: " + "x" * 200 in out
    assert "[/] [bold]\n" in out
