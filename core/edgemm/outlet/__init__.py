"""The ways out of text: to the terminal and to the log, each by one function that escapes what was written elsewhere.

    from edgemm.outlet import say, say_json

Names, labels, reasons and errors come from devices, files and libraries. On the way out they lose whatever would move a
cursor, turn the direction of a line, hide, or begin another line. A linter keeps every other way closed.
"""

from edgemm.outlet.said import call_out, progress, say, say_document, say_json

__all__ = ["call_out", "progress", "say", "say_document", "say_json"]
