"""Builds the compiled test doubles in place: ``python tests/doubles/setup.py build_ext --inplace``, from the project's root."""

from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

CORE = "ext/mdstream/_core"
extensions = [
    Extension(f"doubles.{source.stem}", [str(source)], include_dirs=[CORE], extra_compile_args=["-O2"])
    for source in sorted(Path("tests/doubles").glob("*.pyx"))
]

setup(
    name="mdstream-doubles",
    packages=[],
    package_dir={"doubles": "tests/doubles"},
    ext_modules=cythonize(
        extensions, include_path=["ext", "tests"], compiler_directives={"language_level": 3}
    ),
)
