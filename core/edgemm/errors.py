"""The tree of all errors that edgemm raises on purpose.

    EdgemmError
    ├── InputError                  what was given can never work (exit status 2)
    ├── MissingExtraError           an optional part is not installed
    ├── EnvironmentFailure          a port is taken, a disk is full, a broker or server is out of reach
    │   └── UnreachableError        … out of reach, or busy, for now: the same may work later
    ├── BundleError                 a bundle file, or a manifest in it, cannot be trusted
    │   ├── DamagedBundleError      empty, cut short, flipped or not a bundle at all
    │   │   └── DigestMismatchError a blob is not the one that the manifest names
    │   ├── BundleLimitError        larger than a reader accepts
    │   ├── NewerFormatError        written by a later major version
    │   └── UnsupportedError        restricted in a way that is not known here
    ├── ConversionError             a source model could not be turned into a bundle
    │   ├── ParityError             … because the converted outputs are wrong
    │   └── AccuracyError           … because a variant loses more of a metric than it may
    ├── EngineError                 an inference engine cannot load or run a model
    │   ├── EngineUnavailableError  the engine is not installed here, or too old
    │   └── SelfTestError           the golden samples came out wrong
    │       └── SelfTestTimeoutError … or did not come out in time
    ├── RequestError                one request cannot be answered; the server goes on
    │   ├── BadRequestError         malformed, or the wrong tensors
    │   │   ├── UncomputableSizeError … of a size that the model cannot compute
    │   │   └── UncomputableValueError … of values that the model cannot compute
    │   ├── TooLargeError           over a limit
    │   ├── NotFoundError           no such model, version or object
    │   ├── ConflictError           it contradicts what is already there
    │   └── UnavailableError        not ready, or overloaded: come back later
    ├── MessageError                a message over MQTT or HTTP cannot be decoded
    └── TrustError                  a signature, token, version or time that must not be trusted
        ├── ReplayError             older than, or different from, what was already accepted
        ├── ExpiredError            past its expiry, or not yet valid
        └── PermissionDeniedError   the token or key does not allow this

A message says what was wrong, what was expected, what was found and what to do next. Exit statuses are mapped in
`edgemm.cli`, HTTP statuses in each part's web application. Errors between a process and its child, which no user meets,
are beside the runner, `edgemm.child_process`.
"""

from __future__ import annotations


class EdgemmError(Exception):
    """Root of all errors that edgemm raises on purpose."""


class InputError(EdgemmError):
    """What was given can never work: a file that is no model, an option that contradicts another."""


class MissingExtraError(EdgemmError):
    """An optional part of edgemm is not installed."""

    def __init__(self, extra: str, *, missing: str) -> None:
        super().__init__(f"this needs {missing}, which is not installed: pip install 'edgemm[{extra}]'")
        self.extra, self.missing = extra, missing


class EnvironmentFailure(EdgemmError):  # noqa: N818 - EnvironmentError is the name of a builtin
    """Something outside edgemm is missing or full: a port, a disk, a broker, a server."""


class UnreachableError(EnvironmentFailure):
    """A broker or server is out of reach, or busy: the same may work later."""


class BundleError(EdgemmError):
    """A bundle, or the manifest in it, cannot be trusted."""


class DamagedBundleError(BundleError):
    """A file is not a bundle, or no longer the bundle that it was."""

    def __init__(self, path: str, *, expected: str, found: str) -> None:
        super().__init__(
            f"{path}: expected {expected}, found {found}; the file was changed or cut short: fetch it again"
        )
        self.path, self.expected, self.found = path, expected, found


class DigestMismatchError(DamagedBundleError):
    """A blob is not the one that the manifest names."""

    def __init__(self, path: str, *, expected: str, actual: str) -> None:
        super().__init__(path, expected=f"sha256 {expected[:12]}…", found=f"sha256 {actual[:12]}…")
        self.expected_digest, self.actual_digest = expected, actual


class BundleLimitError(BundleError):
    """A bundle claims more than a reader accepts."""

    def __init__(self, path: str, *, what: str, limit: int, found: int) -> None:
        super().__init__(f"{path}: {what} is {found:,}, the limit is {limit:,}; nothing was read")
        self.path, self.what, self.limit, self.found = path, what, limit, found


class NewerFormatError(BundleError):
    """A document was written by a later major version of edgemm."""

    def __init__(self, path: str, *, what: str, found: str, supported: str) -> None:
        super().__init__(f"{path}: {what} {found} is newer than {supported}, which this edgemm reads: upgrade edgemm")
        self.path, self.found, self.supported = path, found, supported


class UnsupportedError(BundleError):
    """A published version is restricted in a way that this edgemm does not know."""


class ConversionError(EdgemmError):
    """A source model could not be turned into a bundle."""


class ParityError(ConversionError):
    """A converted variant does not compute what its source does."""


class AccuracyError(ConversionError):
    """A variant is worse than its source on labelled data by more than it may be."""


class EngineError(EdgemmError):
    """An inference engine cannot load or run a model."""


class EngineUnavailableError(EngineError):
    """The engine that a variant needs is not installed here, or is too old."""


class SelfTestError(EngineError):
    """A bundle's golden samples came out wrong."""


class SelfTestTimeoutError(SelfTestError):
    """A bundle's golden samples did not come out in time."""


class RequestError(EdgemmError):
    """One request cannot be answered; the server goes on."""


class BadRequestError(RequestError):
    """A request is malformed, or its tensors are not what the model takes."""


class UncomputableSizeError(BadRequestError):
    """A request's tensors have a size that the signature allows and that the model cannot compute."""


class UncomputableValueError(BadRequestError):
    """A request's tensors have values that the signature allows and that the model cannot compute."""


class UncomputableLengthError(UncomputableValueError, EngineError):
    """A request's values ask for tensors that are longer than the memory for one request; no fault of the engine."""


class TooLargeError(RequestError):
    """A request is over a limit."""


class NotFoundError(RequestError):
    """There is no such model, version or object."""


class ConflictError(RequestError):
    """A request contradicts what is already there."""


class UnavailableError(RequestError):
    """The server is not ready for this request, or overloaded; the same request may work later."""


class MessageError(EdgemmError):
    """A message cannot be decoded, or is of a newer major version."""


class TrustError(EdgemmError):
    """A signature, token, version or time must not be trusted."""


class ReplayError(TrustError):
    """Something is older than, or contradicts, what was already accepted."""


class WithdrawnError(TrustError):
    """A version that was published, and then withdrawn."""


class ExpiredError(TrustError):
    """Something is past its expiry, or not yet valid."""


class PermissionDeniedError(TrustError):
    """The token or key that was shown does not allow this."""
