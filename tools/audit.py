"""``make audit``: a bill of materials of what a user installs, and the advisories about it and about our tools, into ``reports/``.

``reports/sbom.json`` (CycloneDX 1.6) lists the packages of ``mdstream-gateway[embedded]``, ``reports/advisories.json`` what pip-audit
says of every package in this environment. Exit codes: 0 nothing is known against any of them, 1 something is, 3 some could not be
checked, so that nothing is known about them: pip-audit itself counts those as good.
"""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
REPORTS = ROOT / "reports"
PRODUCT = "mdstream-gateway"
EXTRA = "embedded"
FOUND, NOT_CHECKED = 1, 3
SHOWN = 5


def product_packages(name: str = PRODUCT, extra: str = EXTRA) -> set[str]:
    """What installing the product brings, itself included."""
    found: set[str] = set()
    todo = [(name, extra)]
    while todo:
        package, wanted = todo.pop()
        if (key := canonicalize_name(package)) in found:
            continue
        found.add(key)
        todo += [(need.name, next(iter(need.extras), "")) for need in _needs(package, wanted)]
    return found


def _needs(package: str, extra: str) -> Iterable[Requirement]:
    for text in importlib.metadata.requires(package) or ():
        need = Requirement(text)
        if need.marker is None or need.marker.evaluate({"extra": extra}):
            yield need


def bill_of_materials(packages: set[str], whole: dict[str, Any]) -> dict[str, Any]:
    """Of a bill of everything that is installed, the part about these packages."""
    parts = [part for part in whole["components"] if canonicalize_name(part["name"]) in packages]
    kept = {part["bom-ref"] for part in parts} | {whole["metadata"]["component"]["bom-ref"]}
    links = [
        link | ({"dependsOn": sorted(set(link["dependsOn"]) & kept)} if "dependsOn" in link else {})
        for link in whole["dependencies"]
        if link["ref"] in kept
    ]
    return whole | {"components": parts, "dependencies": links}


def judge(advisories: dict[str, Any], product: set[str]) -> tuple[int, list[str]]:
    """The exit code, and what to say."""
    every = [each for each in advisories["dependencies"] if canonicalize_name(each["name"]) != PRODUCT]
    bad = [each for each in every if each.get("vulns")]
    unknown = [each["name"] for each in every if "skip_reason" in each]
    lines = [
        f"{len(every) - len(unknown)} of {len(every)} packages were checked; {len(product) - 1} come with the product"
    ]
    for each in bad:
        part = "of the product" if canonicalize_name(each["name"]) in product else "a development tool"
        for known in each["vulns"]:
            better = ", ".join(known["fix_versions"]) or "no version yet"
            lines.append(f"{each['name']} {each['version']} ({part}): {known['id']}, mended in {better}")
    if unknown:
        names = ", ".join(unknown[:SHOWN]) + (", …" if len(unknown) > SHOWN else "")
        lines.append(
            f"NOT CHECKED: the database of advisories has no answer about {len(unknown)} packages ({names}). Nothing is known about "
            "them, good or bad: run this where the advisories of PyPI or OSV can be reached (pip-audit --vulnerability-service osv)"
        )
    return (FOUND if bad else NOT_CHECKED if unknown else 0), lines


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, cwd=ROOT)


def main() -> int:
    REPORTS.mkdir(exist_ok=True)
    product = product_packages()
    bom, advisories = REPORTS / "sbom.json", REPORTS / "advisories.json"
    made = _run(
        "cyclonedx_py", "environment", "--pyproject", "pyproject.toml", "--of", "JSON", "-o", str(bom), sys.executable
    )  # fmt: skip
    if made.returncode:
        sys.exit(f"no bill of materials could be made: {made.stderr.strip()}")
    whole = json.loads(bom.read_text())
    bom.write_text(json.dumps(bill_of_materials(product, whole), indent=1))
    print(
        f"{bom.relative_to(ROOT)}: {len(product) - 1} packages besides our own, CycloneDX {whole['specVersion']}"
    )
    advisories.unlink(missing_ok=True)
    asked = _run(
        "pip_audit", "--local", "--skip-editable", "--format", "json", "--progress-spinner", "off", "-o", str(advisories)
    )  # fmt: skip
    if not advisories.exists():
        print(f"NOT CHECKED: pip-audit got no answer: {asked.stderr.strip().splitlines()[-1][:300]}")
        return NOT_CHECKED
    code, lines = judge(json.loads(advisories.read_text()), product)
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main())
