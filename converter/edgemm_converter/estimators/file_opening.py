"""The opening of an estimator's file, in a child process: skops, joblib and pickle, XGBoost, LightGBM.

A pickle is code, and is opened only where the user allowed it. A skops file is data: types that skops does not know are
named and refused, unless the user named them as custom objects. Imports scikit-learn, and boosting libraries as needed.
"""

from __future__ import annotations

import json
import lzma
import pickle
import re
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import sklearn
from sklearn.exceptions import InconsistentVersionWarning

from edgemm import library_errors
from edgemm.errors import InputError, MissingExtraError
from edgemm.versions import release_tuple
from edgemm_converter.children import custom_objects
from edgemm_converter.children.protocol import ExportRequest, SourceFormat
from edgemm_converter.estimators import plain_steps

# Opening a model runs code of the library and of the model, which raises whatever it likes.
_FOREIGN = (
    ArithmeticError, AttributeError, EOFError, ImportError, LookupError, NameError, OSError, RuntimeError, TypeError,
    ValueError, lzma.LZMAError, pickle.PickleError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
_DAMAGED = (EOFError, lzma.LZMAError, pickle.UnpicklingError, zipfile.BadZipFile, zlib.error)
_EXTRAS = {"xgboost": "boosting", "lightgbm": "boosting", "sklearn": "sklearn", "skops": "sklearn", "joblib": "sklearn"}
_NAMED = 3
_NEWEST_LIGHTGBM = 4
"""The version of the text format that LightGBM 4 writes."""

_END_OF_TREES = "end of trees"


def opened(request: ExportRequest, notes: list[str] | None = None) -> Any:
    """Return the model of a file: an estimator of scikit-learn, or a booster of XGBoost or LightGBM.

    What a user should know of it is added to `notes`.

    Raises:
        InputError: it cannot be opened, or is no model.
        MissingExtraError: it holds objects of a library that is not installed.
    """
    path = Path(request.source)
    objects = _imported(request.custom_objects)
    readers: dict[SourceFormat, Callable[[], Any]] = {
        SourceFormat.SKOPS: lambda: _skops(path, objects),
        SourceFormat.PICKLE: lambda: _pickle(path, allowed=request.allow_pickle),
        SourceFormat.XGBOOST: lambda: _xgboost(path),
        SourceFormat.LIGHTGBM: lambda: _lightgbm(path),
    }
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            found = readers[SourceFormat(request.format)]()
        except _FOREIGN as err:
            _check_versions(path, said)
            raise _refusal(path, err) from err
    older = _check_versions(path, said)
    if older is not None and notes is not None:
        notes.append(older)
    return plain_steps.simplified(found)


def _skops(path: Path, objects: Sequence[str]) -> Any:
    from skops import io

    unknown = [name for name in io.get_untrusted_types(file=path) if name not in objects]
    if unknown:
        more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
        first = unknown[0].rpartition(".")
        raise InputError(
            f"{path}: it holds types that are not trusted: {', '.join(unknown[:_NAMED])}{more}; where you trust them, "
            f"name each with --custom-objects, such as {first[0]}:{first[2]}"
        )
    return io.load(path, trusted=list(objects))


def _pickle(path: Path, *, allowed: bool) -> Any:
    if not allowed:
        raise InputError(f"{path}: a Python pickle, which is code: give --allow-pickle if you trust its maker")
    import joblib

    return joblib.load(path)


def _xgboost(path: Path) -> Any:
    import xgboost

    data = path.read_bytes()
    _check_xgboost_version(path, data, xgboost.__version__)
    xgboost.set_config(verbosity=0)
    booster = xgboost.Booster()
    try:
        booster.load_model(bytearray(data))
    except xgboost.core.XGBoostError as err:
        raise _damaged(path, "an XGBoost", err) from err
    return booster


def _check_xgboost_version(path: Path, data: bytes, installed: str) -> None:
    """Check that a JSON file was not written by a later major version; one of UBJSON tells when it is read."""
    try:
        version = json.loads(data)["version"]
        wrote = ".".join(str(int(part)) for part in version)
    except (ValueError, KeyError, TypeError, RecursionError):
        return
    if release_tuple(wrote)[:1] > release_tuple(installed)[:1]:
        raise InputError(
            f"{path}: written by XGBoost {wrote}, and {installed} is installed: install xgboost>={wrote}, or save the "
            "model with the older one"
        )


def _lightgbm(path: Path) -> Any:
    import lightgbm

    text = path.read_text(encoding="utf-8", errors="replace")
    version = re.match(r"tree\s+version=v(\d+)", text)
    if version is not None and int(version[1]) > _NEWEST_LIGHTGBM:
        raise InputError(
            f"{path}: a LightGBM file of version v{version[1]}, and v{_NEWEST_LIGHTGBM} is the newest that is known: "
            "save the model with an older LightGBM"
        )
    if _END_OF_TREES not in text:  # LightGBM takes its process along on half a tree
        raise _damaged(path, "a LightGBM", EOFError(f"{_END_OF_TREES!r} is missing"))
    lightgbm.register_logger(_Silent())
    try:
        return lightgbm.Booster(model_str=text)
    except lightgbm.basic.LightGBMError as err:
        raise _damaged(path, "a LightGBM", err) from err


def _damaged(path: Path, what: str, err: BaseException) -> InputError:
    library_errors.note(err)
    return InputError(f"{path}: expected {what} file, found one that is cut short or damaged: save the model again")


class _Silent:
    """A logger that says nothing: what LightGBM has to say of a damaged file comes as an error too."""

    def info(self, _text: str) -> None:
        """Say nothing."""

    def warning(self, _text: str) -> None:
        """Say nothing."""


def _imported(named: Iterable[str]) -> tuple[str, ...]:
    """Import custom objects, and have pickles find them; return the types by skops' names of them."""
    types = list[str]()
    for one in custom_objects.imported(named, failures=_FOREIGN):
        module = one.module.__name__
        for name, found in (one.named or {n: v for n, v in vars(one.module).items() if _is_of(v, module)}).items():
            types.append(f"{getattr(found, '__module__', module)}.{name}")
            _give_to_main(name, found)
    return tuple(types)


def _is_of(value: object, module: str) -> bool:
    return getattr(value, "__module__", None) == module and hasattr(value, "__name__")


def _give_to_main(name: str, found: object) -> None:
    """Have a pickle find an object that was defined in the script that wrote it, whose module is `__main__`."""
    main = sys.modules["__main__"]
    if not hasattr(main, name):
        setattr(main, name, found)


def _check_versions(path: Path, said: Iterable[warnings.WarningMessage]) -> str | None:
    """Check that no part was written by a newer scikit-learn, whose parts an older one reads as it likes.

    Return what to tell of parts of an older one, which a newer one reads, and not always as they were.
    """
    wrote = [
        str(one.message.original_sklearn_version) for one in said if isinstance(one.message, InconsistentVersionWarning)
    ]
    newest = max(wrote, key=release_tuple, default=sklearn.__version__)
    if release_tuple(newest) > release_tuple(sklearn.__version__):
        raise InputError(
            f"{path}: written by scikit-learn {newest}, and {sklearn.__version__} is installed: install "
            f"scikit-learn>={newest}, or save the model with the older one"
        )
    oldest = min(wrote, key=release_tuple, default=None)
    if oldest is None:
        return None
    return (
        f"written by scikit-learn {oldest}, and compared with what {sklearn.__version__} answers with it: where it is "
        "another answer, nothing here shows it; check a few answers that the model gave before (--eval)"
    )


def _refusal(path: Path, err: BaseException) -> InputError | MissingExtraError:
    if isinstance(err, ModuleNotFoundError) and (package := (err.name or "").partition(".")[0]):
        if package in _EXTRAS:
            return MissingExtraError(_EXTRAS[package], missing=f"the Python package {package}")
        return InputError(
            f"{path}: it holds objects of the module {err.name!r}, which is not there: name it with --custom-objects "
            f"{err.name} where it lies in this folder, or install it"
        )
    if isinstance(err, AttributeError) and "__main__" in str(err):
        name = str(err).split("'")[1] if "'" in str(err) else "NAME"
        return InputError(
            f"{path}: it holds {name!r}, which was defined in the script that wrote it: put it into a module, and give "
            f"--custom-objects MODULE:{name}"
        )
    if isinstance(err, _DAMAGED):
        return _damaged(path, "a whole", err)
    return InputError(
        f"{path}: the file does not open: {library_errors.quoted(err)}; it is damaged, or of another version of its "
        "library: save the model again, with the versions that are installed here"
    )
