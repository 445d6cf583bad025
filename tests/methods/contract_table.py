"""Writes docs/contract.md: which method passed which check of the contract, as pytest reported it.

python tests/methods/contract_table.py
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from affinage.methods import registry

ROOT = Path(__file__).resolve().parents[2]
FILES = ("tests/methods/test_contract.py", "tests/methods/test_peft.py", "tests/methods/test_checkpointing.py", "tests/methods/test_full.py")
HEAD = """\
# The contract of every method

Written by `python tests/methods/contract_table.py` from what pytest reported on {count} cases. A cell says how many settings of the method passed the
check, of how many; where it is blank, the check is not asked of the method. `full` changes every tensor, so it is trained alone and has checks of
its own.
"""


def outcomes(report: Path) -> Iterator[tuple[str, str, bool]]:
    """(check, method, passed) of every case that is about one method; a skipped case is none."""
    method = re.compile(rf"(?:^|-)({'|'.join(sorted(registry, key=len, reverse=True))})(?::|$)")
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        name, _, parameters = case.attrib["name"].partition("[")
        about = method.search(parameters.removesuffix("]"))
        own = "full" if case.attrib["classname"].endswith("test_full") else about and about[1]
        if own and case.find("skipped") is None:
            yield name.removeprefix("test_").replace("_", " "), own, case.find("failure") is None and case.find("error") is None


def main() -> int:
    """Runs the checks and writes the page; the exit code is pytest's."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        code = subprocess.run([sys.executable, "-m", "pytest", *FILES, f"--junitxml={report}"], cwd=ROOT, check=False).returncode
        found = list(outcomes(report))
    asked: defaultdict[str, Counter[str]] = defaultdict(Counter)
    passed: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for check, method, good in found:
        asked[check][method] += 1
        passed[check][method] += good
    columns = [method for method in registry if any(asked[check][method] for check in asked)]
    lines = [f"| check | {' | '.join(columns)} |", f"| :-- |{' --: |' * len(columns)}"]
    for check in asked:
        cells = (f"{passed[check][method]}/{asked[check][method]}" if asked[check][method] else "" for method in columns)
        lines.append(f"| {check} | {' | '.join(cells)} |")
    page = HEAD.format(count=len(found)) + "\n" + "\n".join(lines) + "\n"
    (ROOT / "docs" / "contract.md").write_text(page, encoding="utf-8")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
