"""The compiled core: books, change logs, views, encoders, decoder and fan-out.

Each module is one extension, its source in ``ext/mdstream/_core``. Import from the module, not from here.
"""

from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

_HERE = Path(__file__).parent

if next(_HERE.rglob(f"*{EXTENSION_SUFFIXES[0]}"), None) is None:
    raise ImportError(
        f"mdstream's compiled core is not built in this checkout ({_HERE.parents[1]}): "
        "run `make build` and use .venv/bin/python, or run `pip install -e .`",
        name=__name__,
    )
