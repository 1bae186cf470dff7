"""The judgement of load failures: tells those that may pass by themselves from those that cannot. Pure.

A good model is given up only for a failure that cannot pass: its bytes rotted or are gone, or its engine is gone. A
machine that is short of memory or files for a moment, or a card that reads badly once, is asked again.
"""

from __future__ import annotations

import errno

from edgemm.errors import (
    BundleError,
    DigestMismatchError,
    EngineUnavailableError,
    InputError,
    NewerFormatError,
    SelfTestError,
)

_FINAL = (DigestMismatchError, EngineUnavailableError, InputError, NewerFormatError, SelfTestError)
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR})


def may_pass(err: BaseException) -> bool:
    """Tell whether loading the same again may work: memory, files or the storage may only have been short of."""
    if isinstance(err, _FINAL):
        return False
    found = _os_error(err)
    if found is not None:
        return found.errno not in _GONE
    return not isinstance(err, BundleError)


def _os_error(err: BaseException | None) -> OSError | None:
    """Return what the system said, where an error was made of that."""
    while err is not None and not isinstance(err, OSError):
        err = err.__cause__
    return err
