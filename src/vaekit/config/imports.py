"""Import a Python file or an installed module of the user, whose code may register parts and recipes."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import traceback
from pathlib import Path

from vaekit.config.parts import imported_as
from vaekit.errors import UserError, argument

__all__ = ["import_parts"]


def import_parts(source: str) -> None:
    """Import a file that ends in ``.py``, or else a module by its name. A second call does nothing.

    Raises:
        UserError: If there is no such file or module, or its code raises an exception.
    """
    given = argument("import", source)
    with imported_as(source):
        try:
            _import_file(Path(source), given) if source.endswith(".py") else _import_module(source, given)
        except (UserError, KeyboardInterrupt):
            raise
        except SyntaxError as error:
            raise UserError(f"{given}: line {error.lineno} is not Python ({error.msg})") from error
        except Exception as error:
            line = traceback.extract_tb(error.__traceback__)[-1]
            raise UserError(
                f"{given}: {Path(line.filename).name}, line {line.lineno}, raised {type(error).__name__}: {error}"
            ) from error


def _import_file(path: Path, given: str) -> None:
    if not path.is_file():
        raise UserError(f"{given}: there is no such file; give the file that registers your parts")
    absolute = path.resolve()
    name = f"vaekit_import_{hashlib.sha256(bytes(absolute)).hexdigest()[:12]}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, absolute)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    if str(absolute.parent) not in sys.path:
        sys.path.append(str(absolute.parent))  # it may import files beside it, which do not hide other modules
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


def _import_module(name: str, given: str) -> None:
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # a parent package is missing, or the name is invalid
        found = None
    if found is None:
        raise UserError(
            f"{given}: there is no module of this name; give a file that ends in .py, or install the module"
        )
    importlib.import_module(name)
