"""Change the package in one place after the other, and see whether the fast tests notice.

A mutant is a copy of a file with another operator, another constant, a negated condition or a dropped line. Each one runs
the tests that belong to its file, in a copy of the repository, with a time limit, and if they pass, the fast tests of the folders in
REST. It is killed if a test fails, or the tests do not end. A survivor is a test that is missing, or a change that makes
no difference: the reasons of those that we know stand in EQUIVALENT.

    python tools/mutate.py mutants.jsonl --limit 40 --seed 1
    python tools/mutate.py mutants.jsonl --only spacy_maral/adaptation/filter.py

The file has one line per mutant. Of files that have not changed, killed mutants do not run again, and survivors only when
the tests have changed.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from wasabi import msg

ROOT = Path(__file__).parent.parent

TESTS: Mapping[str, tuple[str, ...]] = {
    "spacy_maral/model/losses.py": ("tests/model/test_losses.py", "tests/model/test_registered_losses.py"),
    "spacy_maral/model/vmf.py": ("tests/model/test_vmf.py",),
    "spacy_maral/model/spans.py": ("tests/model/test_spans.py", "tests/model/test_entities.py"),
    "spacy_maral/adaptation/filter.py": ("tests/adaptation/test_filtering.py",),
    "spacy_maral/adaptation/refinery.py": ("tests/adaptation/test_refinery.py",),
    "spacy_maral/adaptation/improve.py": ("tests/adaptation/test_improve.py",),
    "spacy_maral/training/masked_lm.py": ("tests/training/test_streams.py", "tests/training/test_masked_lm.py"),
    "spacy_maral/adaptation/progressive.py": ("tests/adaptation/test_adaptation.py",),
    "spacy_maral/training/objective.py": ("tests/training/test_streams.py",),
    "spacy_maral/training/streams.py": ("tests/training/test_streams.py",),
    "spacy_maral/training/optimiser.py": ("tests/training/test_optimiser.py",),
    "spacy_maral/adaptation/lexicon.py": ("tests/adaptation/test_lexicon.py",),
    "spacy_maral/adaptation/word_links.py": ("tests/adaptation/test_word_links.py",),
    "spacy_maral/scale/distil/subwords.py": ("tests/scale/distil/test_subwords.py",),
}  # fmt: skip
"""Files to change, and the tests that notice first."""

REST = ("tests/robustness/test_safety.py", "tests/model", "tests/adaptation", "tests/training")
"""Tests that those mutants run which the tests of their files let pass."""

EQUIVALENT: Mapping[str, str] = {
    "spacy_maral/model/losses.py supcon: 0 -> (1)": "number of classes of no spans",
    "spacy_maral/model/losses.py supcon: 1024 -> (1025)": "size of a chunk of anchors: one more is as good",
    "spacy_maral/model/losses.py cross_entropy: 0.0 -> (1.0)": "multiplied by a probability of 0",
    "spacy_maral/model/spans.py resolve_overlaps: True -> False": "the two arrays have one length",
    "spacy_maral/model/spans.py word_piece_ends: 1 -> (2)": "an empty row more (one of several such constants)",
    "spacy_maral/model/spans.py module: 1 -> (2)": "any number below 0 stands for a class that is not known",
    "spacy_maral/model/spans.py touching: -1 -> (1)": "two words more, which no span has",
    "spacy_maral/model/spans.py touching: 1 -> (2)": "for no spans at all",
    "spacy_maral/model/spans.py _schedule: 0.0 -> (1.0)": "all totals are higher by one",
    "spacy_maral/model/spans.py _schedule: 1 -> (2)": "each span counts twice where totals are equal",
    "spacy_maral/adaptation/filter.py split_scores: mixture.predict_proba([[high]])[0, top] <= 0.5 -> "
    "(mixture.predict_proba([[high]])[0, top] < 0.5)": "no fit has exactly one half",
    "spacy_maral/adaptation/refinery.py build_index: index.cp.niter, index.cp.max_points_per_centroid = "
    "CENTRE_ROUNDS, ROWS_PER_CENTRE -> pass": "the library's numbers take longer, to the same end",
    "spacy_maral/adaptation/refinery.py module: 16 -> (17)": "number of lists that a search reads: "
    "one more is as good",
    "spacy_maral/adaptation/progressive.py on_row: 0 -> (1)": "one row more of memory is kept",
    "spacy_maral/adaptation/progressive.py _bank: 1 -> (2)": "any number below 0 stands for no span",
    "spacy_maral/adaptation/progressive.py _sample: 1 -> (2)": "for banks of fewer than four rows",
    "spacy_maral/adaptation/progressive.py module: 65_536 -> (65537)": "spans of a batch: their scores "
    "are the same",
    "spacy_maral/adaptation/improve.py module: 2000 -> (2001)": "size of a sample: one more is as good",
    "spacy_maral/training/streams.py _prior_of: self.part_priors is None or self.parts is None -> "
    "(self.part_priors is None and self.parts is None)": "a stream has both or neither",
}
"""Reason why a mutant may live, by its `Mutant.key`."""

SWAPS: Mapping[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div,
    ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
    ast.And: ast.Or, ast.Or: ast.And, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}  # fmt: skip


class Mutant(NamedTuple):
    """A change of one file.

    file: Path in the repository. line: Its line. kind: "operator", "constant", "condition" or "line".
    function: Innermost function. before, after: The code. start, end: Its place, in bytes.
    """

    file: str
    line: int
    kind: str
    function: str
    before: str
    after: str
    start: int
    end: int

    @property
    def key(self) -> str:
        return f"{self.file} {self.function}: {self.before} -> {self.after}"

    def apply(self, source: bytes) -> bytes:
        return source[: self.start] + self.after.encode("utf8") + source[self.end :]


class Finder(ast.NodeVisitor):
    """Find all mutants of a file; messages, annotations and documentation stay as they are."""

    def __init__(self, file: str, source: bytes) -> None:
        self.file, self.source, self.found = file, source, list[Mutant]()
        sizes = [len(line) for line in source.splitlines(keepends=True)]
        self.offsets = [sum(sizes[:i]) for i in range(len(sizes))]
        self.functions: list[str] = ["module"]
        # names that have a value already where a statement stands
        self.names: set[str] = set()

    def add(self, node: ast.expr | ast.stmt, kind: str, after: str) -> None:
        start = self.offsets[node.lineno - 1] + node.col_offset
        end = self.offsets[(node.end_lineno or 1) - 1] + (node.end_col_offset or 0)
        before = self.source[start:end].decode("utf8")
        place = self.functions[-1], " ".join(before.split()), after, start, end
        self.found.append(Mutant(self.file, node.lineno, kind, *place))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outside, self.names = (
            self.names,
            {a.arg for a in ast.walk(node.args) if isinstance(a, ast.arg)},
        )
        self.functions.append(node.name)
        for part in (*node.args.defaults, *filter(None, node.args.kw_defaults), *node.body):
            self.visit(part)
        self.functions.pop()
        self.names = outside

    def visit_Raise(self, node: ast.Raise) -> None:
        pass

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        pass

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call):
            self.add(node, "line", "pass")
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.add(node, "line", "pass")
        if type(node.op) in SWAPS:
            changed = ast.AugAssign(node.target, SWAPS[type(node.op)](), node.value)  # type: ignore[arg-type]
            self.add(node, "operator", ast.unparse(changed))
        self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        stored = [n for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name)]
        fresh = {n.id for n in stored if isinstance(n.ctx, ast.Store)}
        if len(self.functions) > 1 and fresh <= self.names:
            self.add(node, "line", "pass")
        self.names |= fresh
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        self.add(node.test, "condition", f"(not ({ast.unparse(node.test)}))")
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.add(node.test, "condition", f"(not ({ast.unparse(node.test)}))")
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if type(node.op) in SWAPS:
            changed = ast.BinOp(node.left, SWAPS[type(node.op)](), node.right)  # type: ignore[arg-type]
            self.add(node, "operator", f"({ast.unparse(changed)})")
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        changed = ast.BoolOp(SWAPS[type(node.op)](), node.values)  # type: ignore[arg-type]
        self.add(node, "operator", f"({ast.unparse(changed)})")
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        for i, op in enumerate(node.ops):
            ops = [*node.ops[:i], SWAPS[type(op)](), *node.ops[i + 1 :]]
            changed = ast.Compare(node.left, ops, node.comparators)  # type: ignore[arg-type]
            self.add(node, "operator", f"({ast.unparse(changed)})")
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        self.add(node, "operator", f"({ast.unparse(node.operand)})")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self.add(node, "constant", str(not value))
        elif isinstance(value, int):
            self.add(node, "constant", f"({value + 1})")
        elif isinstance(value, float):
            self.add(node, "constant", f"({2 * value or 1.0})")


def find_mutants(file: str, source: bytes) -> list[Mutant]:
    """Find all mutants of a file that are valid Python, without those inside decorators."""
    finder = Finder(file, source)
    finder.visit(ast.parse(source))
    return [m for m in finder.found if compiles(m.apply(source))]


def compiles(source: bytes) -> bool:
    try:
        compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True


def copy_repository(folder: Path, root: Path) -> None:
    """Copy the files under version control, and the metadata of an editable installation."""
    command = ["git", "ls-files", "-z", "-co", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, check=True, capture_output=True)
    for name in listed.stdout.decode("utf8").split("\0"):
        if name and (root / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, folder / name)
    for info in root.glob("*.egg-info"):
        shutil.copytree(info, folder / info.name)


def run_tests(folder: Path, tests: Sequence[str], limit: float) -> tuple[str, float]:
    """Run tests; RETURNS (tuple): "passed", "failed" or "timeout", and the seconds that they took."""
    started = time.monotonic()
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    command = [sys.executable, "-m", "pytest", *options, *tests]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, timeout=limit, capture_output=True, check=False
        )
        outcome = "failed" if done.returncode else "passed"
    except subprocess.TimeoutExpired:
        outcome = "timeout"
    return outcome, time.monotonic() - started


def digest(paths: Sequence[Path]) -> str:
    """Digest the contents of some files."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:12]


def run_mutants(
    mutants: Sequence[Mutant],
    tests: Mapping[str, Sequence[str]],
    rest: Sequence[str],
    output: Path,
    root: Path,
) -> Iterator[dict]:
    """Run the mutants that the output does not have yet; YIELDS (dict): The result of each, old or new.

    rest (Sequence[str]): Tests for the mutants that those of their files let pass.

    RAISES (SystemExit): If the tests of a file fail without a change.
    """
    lines = output.read_text(encoding="utf8").splitlines() if output.exists() else []
    known = {(row["key"], row["start"], row["digest"]): row for row in map(json.loads, lines)}
    limits: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="mutants") as name:
        folder = Path(name)
        copy_repository(folder, root)
        for mutant in mutants:
            of_file = digest([folder / mutant.file])
            of_tests = digest([folder / test for test in tests[mutant.file]])
            row = known.get((mutant.key, mutant.start, of_file))
            if row is None or not (row["killed"] or row["tests"] == of_tests):
                if mutant.file not in limits:
                    limits[mutant.file] = time_limit(folder, mutant.file, tests[mutant.file])
                outcome, seconds = run_mutant(
                    folder, mutant, tests[mutant.file], limits[mutant.file]
                )
                if outcome == "passed" and rest and mutant.key not in EQUIVALENT:
                    if "the rest" not in limits:
                        limits["the rest"] = time_limit(folder, "the rest", rest)
                    outcome, more = run_mutant(folder, mutant, rest, limits["the rest"])
                    seconds += more
                row = {
                    "key": mutant.key, **mutant._asdict(), "digest": of_file, "tests": of_tests,
                    "killed": outcome != "passed", "outcome": outcome, "seconds": round(seconds, 1),
                }  # fmt: skip
                with output.open("a", encoding="utf8") as file:
                    file.write(json.dumps(row) + "\n")
            yield row


def run_mutant(
    folder: Path, mutant: Mutant, tests: Sequence[str], limit: float
) -> tuple[str, float]:
    """Run tests with a mutant in place of its file, as `run_tests`."""
    path = folder / mutant.file
    source = path.read_bytes()
    path.write_bytes(mutant.apply(source))
    try:
        return run_tests(folder, tests, limit)
    finally:
        path.write_bytes(source)


def time_limit(folder: Path, file: str, tests: Sequence[str]) -> float:
    """Time the tests of a file without a change; RETURNS (float): Seconds that they may take with one.

    RAISES (SystemExit): If they fail.
    """
    outcome, seconds = run_tests(folder, tests, 1800)
    if outcome != "passed":
        sys.exit(f"the tests of {file} have {outcome} without a change")
    return 60 + 3 * seconds


def sample(mutants: Sequence[Mutant], limit: int | None, seed: int) -> list[Mutant]:
    """Draw some of the mutants, in the order of the files."""
    if limit is None or limit >= len(mutants):
        return list(mutants)
    chosen = random.Random(seed).sample(range(len(mutants)), limit)
    return [mutants[i] for i in sorted(chosen)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", type=Path, help="results, one line of JSON per mutant")
    parser.add_argument(
        "--limit", type=int, help="number of mutants, drawn at random; by default all"
    )
    parser.add_argument("--seed", type=int, default=0, help="draws the mutants")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=TESTS,
        default=list(TESTS),
        metavar="FILE",
        help="files to change",
    )
    arguments = parser.parse_args()
    every = [m for file in arguments.only for m in find_mutants(file, (ROOT / file).read_bytes())]
    rows = []
    for row in run_mutants(
        sample(every, arguments.limit, arguments.seed), TESTS, REST, arguments.output, ROOT
    ):
        rows.append(row)
        msg.text(f"{row['outcome']:8} {row['file']}:{row['line']} {row['key'].partition(' ')[2]}")
    summarise(rows, len(every))


def summarise(rows: Sequence[dict], n_all: int) -> None:
    """Show the kill rate, and the survivors with their reasons."""
    lived = [row for row in rows if not row["killed"]]
    counted = [row for row in lived if row["key"] not in EQUIVALENT]
    n = len(rows) - len(lived) + len(counted)
    msg.divider(f"{len(rows)} of {n_all} mutants")
    for row in lived:
        reason = EQUIVALENT.get(row["key"], "no reason known")
        msg.text(f"{row['file']}:{row['line']} {row['before']} -> {row['after']}\n    {reason}")
    msg.info(f"{n - len(counted)} of {n} mutants that make a difference are killed")


if __name__ == "__main__":
    main()
