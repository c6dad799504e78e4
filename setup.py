"""Builds what is compiled, the core and the load test's half; everything else about the project stands in pyproject.toml.

MDSTREAM_BUILD selects the build: ``release`` (the default), ``debug`` (bounds checks, assertions), ``asan`` (these, and
AddressSanitizer and UndefinedBehaviorSanitizer) or ``fuzz`` (these, and the coverage that guides a fuzzer). setuptools does not
notice a changed switch, so the choice forces a rebuild.
"""

import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
CFLAGS = {
    # -g0: the flags Python was built with ask for symbols, which make what is installed five times as large.
    "release": ["-O3", "-fno-plt", "-g0", "-DNDEBUG"],
    "debug": ["-O0", "-g", "-UNDEBUG"],
    "asan": ["-O1", "-g", "-UNDEBUG", "-fno-omit-frame-pointer", *SANITIZE],
    "fuzz": [
        "-O1",
        "-g",
        "-UNDEBUG",
        "-fno-omit-frame-pointer",
        *SANITIZE,
        "-fsanitize-coverage=trace-pc,trace-cmp",
    ],
}
BUILD = os.environ.get("MDSTREAM_BUILD", "release")
if BUILD not in CFLAGS:
    sys.exit(f"MDSTREAM_BUILD is {BUILD!r}; it must be one of {', '.join(CFLAGS)}")
# Each Python has its own modules in this tree, so each remembers its own build.
STAMP = Path(f"build/.mdstream-build-{sys.implementation.cache_tag}")
FORCE = (STAMP.read_text() if STAMP.exists() else "release") != BUILD
STAMP.parent.mkdir(exist_ok=True)
STAMP.write_text(BUILD)

CHECKED = BUILD != "release"
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": CHECKED,
    "wraparound": False,
    "initializedcheck": CHECKED,
    "cdivision": True,
    "overflowcheck": False,
    "embedsignature": True,
}
extensions = [
    Extension(
        ".".join(source.relative_to("ext").with_suffix("").parts),
        [str(source)],
        include_dirs=["ext/mdstream/_core"],
        extra_compile_args=CFLAGS[BUILD],
        extra_link_args=SANITIZE if BUILD in ("asan", "fuzz") else [],
    )
    for source in sorted(Path("ext/mdstream").rglob("*.pyx"))
]

setup(
    options={"build_ext": {"parallel": os.cpu_count() or 1}},
    ext_modules=cythonize(
        extensions,
        include_path=["ext"],
        compiler_directives=DIRECTIVES,
        force=FORCE,
        nthreads=os.cpu_count() or 1,
    ),
)
