"""One fuzz target under libFuzzer: ``python -m fuzz.engine NAME --runs N [--seconds S] [--corpus DIR] [--report FILE]``.

libFuzzer is the one that atheris brings. Targets that are about compiled code are called from C, and in a ``fuzz`` build what gcc reports
of that code guides the fuzzer. Readers in Python are called through atheris, which instruments their modules.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import logging
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fuzz.targets import FuzzTarget

INSTRUMENTED = (
    "mdstream.auth.entitlements",
    "mdstream.auth.keys",
    "mdstream.auth.patterns",
    "mdstream.auth.tokens",
    "mdstream.gateway.addresses",
    "mdstream.gateway.commands",
    "mdstream.gateway.control_decoder",
    "mdstream.gateway.extensions",
    "mdstream.gateway.forwarded",
    "mdstream.gateway.handshake",
    "mdstream.gateway.http_messages",
    "mdstream.gateway.http_listener",
    "mdstream.gateway.proxy_protocol",
    "mdstream.gateway.upgrades",
)


def engine_path() -> Path:
    """The extension module of atheris that holds libFuzzer."""
    package = find_spec("atheris")
    if package is None or package.origin is None:
        sys.exit("the fuzzer is libFuzzer as atheris brings it: pip install atheris (wheels are for Linux)")
    return next(Path(package.origin).parent.glob("core_with_libfuzzer*.so"))


def lead_coverage(engine: ctypes.CDLL) -> bool:
    """Gives libFuzzer what gcc reports, if ``coverage.so`` is preloaded; False if it is not."""
    here = ctypes.CDLL(None)
    if not hasattr(here, "coverage_begin"):
        return False
    here.coverage_begin.restype = here.coverage_end.restype = ctypes.c_void_p
    here.coverage_name.restype = ctypes.c_char_p
    here.coverage_lead.argtypes = [ctypes.c_size_t, ctypes.c_void_p]
    engine.__sanitizer_cov_8bit_counters_init.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    number = 0
    while name := here.coverage_name(ctypes.c_size_t(number)):
        here.coverage_lead(number, ctypes.cast(getattr(engine, name.decode()), ctypes.c_void_p))
        number += 1
    engine.__sanitizer_cov_8bit_counters_init(here.coverage_begin(), here.coverage_end())
    return True


def drive(engine: ctypes.CDLL, address: int, arguments: list[str]) -> None:
    """Runs libFuzzer on a function of C; it ends the process."""
    encoded = [argument.encode() for argument in arguments]
    count = ctypes.c_int(len(encoded))
    vector = (ctypes.c_char_p * (len(encoded) + 1))(*encoded, None)
    pointer = ctypes.cast(vector, ctypes.POINTER(ctypes.c_char_p))
    engine.LLVMFuzzerRunDriver(ctypes.byref(count), ctypes.byref(pointer), ctypes.c_void_p(address))


def fuzz(name: str, arguments: list[str]) -> None:
    from fuzz.targets import TARGETS

    target = TARGETS[name]
    if not target.is_reader:
        fuzz_compiled(target, arguments)
    else:
        import atheris  # brings its own libFuzzer: a second one, loaded for all, would keep it from finding its target

        atheris.Setup(arguments, target.python)
        atheris.Fuzz()


def fuzz_compiled(target: FuzzTarget, arguments: list[str]) -> None:
    from doubles import fuzz_targets

    engine = ctypes.PyDLL(str(engine_path()), mode=ctypes.RTLD_GLOBAL)
    guided = lead_coverage(engine)
    how = "guided by the coverage of the core" if guided else "without coverage of the core"
    print(f"{target.name}: {how}", flush=True)
    logging.disable()  # what a target logs of each input would take most of its time
    drive(engine, fuzz_targets.entry(target.name, target.python), arguments)


def instrument() -> None:
    """Must come before anything imports these modules."""
    import atheris

    with atheris.instrument_imports(include=list(INSTRUMENTED), enable_loader_override=False):
        for name in INSTRUMENTED:
            importlib.import_module(name)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seconds", type=int, default=0)
    parser.add_argument(
        "--patience", type=int, default=30, help="seconds; an input that takes longer is a finding"
    )
    parser.add_argument("--corpus", type=Path, default=Path(tempfile.gettempdir()) / "mdstream-fuzz")
    options = parser.parse_args()
    if options.name.startswith(PYTHON_TARGETS):
        instrument()
    corpus = options.corpus / options.name
    corpus.mkdir(parents=True, exist_ok=True)
    from fuzz.targets import TARGETS

    for number, seed in enumerate(TARGETS[options.name].seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    found = options.corpus / "found"
    found.mkdir(exist_ok=True)
    fuzz(
        options.name,
        [
            "fuzz",
            f"-runs={options.runs}",
            f"-max_total_time={options.seconds}",
            f"-max_len={TARGETS[options.name].longest}",
            f"-timeout={options.patience}",
            f"-artifact_prefix={found}/{options.name}-",
            "-print_final_stats=1",
            "-detect_leaks=0",
            "-rss_limit_mb=0",
            str(corpus),
        ],
    )


PYTHON_TARGETS = (
    "commands_", "extensions", "upgrades", "admin_", "tokens", "claims", "jwks", "proxy_header", "forwarded",
)  # fmt: skip
"""How the names of readers in Python begin: their modules are instrumented before ``targets`` imports them."""

if __name__ == "__main__":
    main()
