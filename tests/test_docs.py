"""The documentation: its commands are run or parsed, its Python is run, its links lead somewhere,
what is generated is current, and the code that it names exists."""

from __future__ import annotations

import functools
import importlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import spacy
from build_docs import DOCS, outdated, same_figure
from build_encoder import save_tiny
from docs_blocks import (
    FENCE,
    ROOT,
    SHELL,
    Block,
    anchors,
    blocks,
    command_lines,
    links,
    parse,
    spacy_words,
    words_of,
)
from spacy.cli import app as spacy_app
from spacy.util import load_config, registry
from thinc.api import Config
from typer.testing import CliRunner

from spacy_maral.errors import Errors, Warnings
from spacy_maral.experiments.matrix import Matrix, choose_runs, plan_runs, read_matrix
from spacy_maral.training.settings import SCHEMAS

TUTORIAL = DOCS / "tutorial.md"
OTHERS = [
    ROOT / name
    for name in (
        "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md", "assets/README.md"
    )
]  # fmt: skip
PAGES = [*sorted(DOCS.glob("*.md")), *OTHERS]
ENCODER = "intfloat/multilingual-e5-small"
# The tutorial is run with an untrained encoder, which takes these to learn anything from 70
# sentences, and in less time.
FASTER = {
    "train-teacher": "--teacher.learn_rate 3e-3 --teacher.head_learn_rate 1e-2 --teacher.min_updates 80",
    "adapt": "--student.learn_rate 3e-3 --student.head_learn_rate 1e-2 --student.min_updates 60",
    "speed": "--batches 30 --warmup 1",
}
# What Python blocks load, and what stands in for it: no page is left out.
STAND_INS = {"xx_maral_demo": "student"}
# Names that the Python of a page takes from its prose.
GIVEN = {
    "docs/reliability.md": lambda: {"nlp": spacy.load("student"), "texts": ["Berlin", "Paris"]},
}
# Commands that are not ours to run or parse, by their beginning, and why.
ALLOWED = {
    "make ": "the Makefile's targets: they install, test and run the demonstration for minutes",
    "pip install": "installs packages",
    "python -m venv": "makes an environment",
    ".venv/Scripts/python -m pip": "installs packages",
    ".venv/Scripts/python -m pytest": "runs the tests",
    "python -m pytest": "runs the tests",
    "nox": "runs the tests on several Pythons",
    "python tests/robustness/": "long runs of the robustness tests; what they take is tested there",
    "python examples/": "examples have tests of their own",
    "python tools/": "tools have tests of their own",
    "python -m benchmarks": "measures for minutes; has tests of its own",
    "git ": "version control",
    "mkdir ": "a folder, made by the tutorial's test",
    "python -m zipfile": "unpacks a download",
    "python -m tarfile": "unpacks a download",
}


def page_name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def every_line() -> list[tuple[str, str]]:
    return [
        (page_name(path), line)
        for path in PAGES
        for block in blocks(path)
        for line in command_lines(block)
    ]


LINES = every_line()


def plain(line: str) -> str:
    """A command without settings of the environment, with slashes."""
    return " ".join(words_of(line))


# commands


@pytest.mark.parametrize(
    ("page", "line"),
    [pytest.param(p, x, id=f"{p}: {plain(x)[:60]}") for p, x in LINES if spacy_words(x)],
)
def test_every_command_can_be_parsed(page: str, line: str) -> None:
    words = spacy_words(line)
    assert words is not None
    parsed = parse(words)
    for name in parsed.overrides:
        assert is_setting(name, parsed.name), f"{page}: there is no setting {name}"


def is_setting(name: str, command: str) -> bool:
    """Whether a setting that a command line replaces exists."""
    section, _, key = name.partition(".")
    if command.startswith("project"):
        return section == "vars" and key in project_variables()
    if section in SCHEMAS:
        return key.partition(".")[0] in SCHEMAS[section].model_fields
    return any(has_setting(load_config(path), name) for path in (ROOT / "configs").glob("*.cfg"))


def has_setting(config: Any, name: str) -> bool:
    for part in name.split("."):
        if part not in config:
            return False
        config = config[part]
    return True


def project_variables() -> set[str]:
    text = (ROOT / "project.yml").read_text(encoding="utf8")
    block = text.split("\nvars:\n")[1].split("\n\n")[0]
    return set(re.findall(r"^  (\w+):", block, re.M))


def test_every_other_command_is_known() -> None:
    unknown = [
        f"{page}: {line}"
        for page, line in LINES
        if not spacy_words(line) and not any(plain(line).startswith(start) for start in ALLOWED)
    ]
    assert not unknown, "neither ours nor in ALLOWED:\n" + "\n".join(unknown)


@pytest.mark.parametrize(("page", "line"), [(p, x) for p, x in LINES if not spacy_words(x)])
def test_what_other_commands_name_exists(page: str, line: str) -> None:
    problems = list(unknown_names(words_of(line)))
    assert not problems, f"{page}: {line}: {', '.join(problems)}"


def unknown_names(words: list[str]) -> Iterator[str]:
    """What a command that is not run names and that is not there: targets, files, options."""
    if words[0] == "make":
        targets = set(re.findall(r"^([\w-]+):", read("Makefile"), re.M))
        variables = set(re.findall(r"^(\w+) \?=", read("Makefile"), re.M))
        for word in words[1:]:
            name, _, value = word.partition("=")
            if name not in (variables if value else targets):
                yield name
    elif words[0] == "nox":
        sessions = set(re.findall(r"^def (\w+)\(session", read("noxfile.py"), re.M))
        yield from sorted({word for word in words[1:] if word[0] != "-"} - sessions)
    script = next((word for word in words if word.endswith(".py")), None)
    if words[1:3] == ["-m", "benchmarks"]:
        script = words[2] = "benchmarks/__main__.py"
    if script is None:
        return
    if not (ROOT / script).is_file():
        yield script
    elif not script.rpartition("/")[2].startswith("test_"):
        for option in (word for word in words[words.index(script) + 1 :] if word[:2] == "--"):
            if f'"{option}"' not in read(script) and "parse_known_args" not in read(script):
                yield option


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf8")


@pytest.mark.parametrize(
    "line",
    [
        "make dmo", "make demo SIZE=small", "nox -s oldset", "python tools/no_such.py",
        "python tools/build_encoder.py --names x --out y", "python -m benchmarks --case data",
    ],
)  # fmt: skip
def test_names_that_are_not_there_are_found(line: str) -> None:
    assert list(unknown_names(line.split()))


@pytest.mark.parametrize(
    "line",
    [
        "maral adapt maral.cfg --source a --target b --dev c --outptu d",
        "maral train-teacher maral.cfg --source a --output d",
        "maral no-such-command",
        "maral prepare-text german/ corpus/target.spacy",
        "train --output out --paths.train train.spacy",
    ],
)
def test_commands_that_are_wrong_cannot_be_parsed(line: str) -> None:
    with pytest.raises(AssertionError):
        parse(line.split())


@pytest.mark.parametrize(
    "line",
    [
        "maral train-teacher a.cfg -s a -d b -o c --teacher.epoch 3",
        "train config.cfg --paths.trian train.spacy",
        "project run all . --vars.sourc en",
    ],
)
def test_settings_that_are_wrong_are_found(line: str) -> None:
    parsed = parse(line.split())
    assert [name for name in parsed.overrides if not is_setting(name, parsed.name)]


def test_nothing_is_allowed_that_is_not_there() -> None:
    stale = [a for a in ALLOWED if not any(plain(line).startswith(a) for _, line in LINES)]
    assert not stale


def test_commands_in_tables_have_the_options_that_they_name() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf8")
    names = {c.name: c for c in commands_of_ours()}
    rows = re.findall(r"^\| `([a-z-]+) ([^`]*)` \|", text, re.M)
    for first, rest in rows:
        # a command of a group has two words
        longer = f"{first} {rest.partition(' ')[0]}"
        name = longer if longer in names else first
        if name not in names:
            assert name == "python", f"there is no command {name}"
            continue
        for option in re.findall(r"(?<!\S)\[?(--?[a-z][\w-]*)", rest):
            assert option in options_of(names[name]), f"{name} {option}"


def commands_of_ours() -> list[Any]:
    from docs_cli import commands

    return commands()


def options_of(command: Any) -> set[str]:
    from docs_cli import parameters

    return {part for p in parameters(command) for name in p.names for part in name.split("/")}


def benchmark_choices() -> list[tuple[str, str, tuple[str, ...]]]:
    """Page, file and names of each `benchmark FILE ... --only NAMES`, in blocks, prose and comments."""
    texts = {page_name(path): path.read_text(encoding="utf8") for path in PAGES}
    # prose may break a command over two lines
    spans = [
        (page, " ".join(found.split()))
        for page, text in texts.items()
        for found in re.findall(r"`([^`]+)`", FENCE.sub("", text))
    ]
    # what a file says of --only is about itself
    configs = [
        (page_name(path), f"benchmark {page_name(path)} {options}")
        for path in (ROOT / "configs").glob("*.yml")
        for options in re.findall(r"(?m)^#.*?((?: --only \S+)+)", path.read_text(encoding="utf8"))
    ]
    found = []
    for page, line in [*LINES, *spans, *configs]:
        file = re.search(r"\bbenchmark (configs/\S+\.yml)", line)
        names = tuple(re.findall(r" (?:--only|-O) (\S+)", line))
        if file and names:
            found.append((page, file[1], names))
    return found


@pytest.mark.parametrize(("page", "file", "names"), benchmark_choices())
def test_benchmarks_have_the_runs_that_commands_choose(
    page: str, file: str, names: tuple[str, ...]
) -> None:
    assert choose_runs(plan_runs(shipped_matrix(file)), names)


@functools.cache
def shipped_matrix(file: str) -> Matrix:
    return read_matrix(ROOT / file)


def test_choices_of_runs_are_found_everywhere() -> None:
    """In blocks, in prose over two lines, and in the comments of the files themselves."""
    pages = {page for page, _, _ in benchmark_choices()}
    assert pages >= {"docs/paper.md", "docs/results-appendix.md", "configs/benchmark.yml"}
    wrapped = ("teacher,maral,uner-en-da,0",)
    assert ("docs/results-appendix.md", "configs/benchmark_study.yml", wrapped) in (
        benchmark_choices()
    )


# blocks that are run


class Sandbox:
    """A folder with the example's text and a tiny encoder, in which blocks of pages are run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.done: list[str] = []

    def shell(self, block: Block) -> None:
        for line in command_lines(block):
            words = spacy_words(line.replace(ENCODER, "encoders/tiny"))
            if words is None:
                assert words_of(line)[0] == "mkdir", line
                Path(words_of(line)[1]).mkdir()
                continue
            if words[1] in FASTER:
                words += FASTER[words[1]].split()
            # a wheel takes a build in an environment of its own
            words = ["none" if word == "wheel" else word for word in words]
            result = CliRunner().invoke(spacy_app, words)
            assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception!r}"
            self.done.append(line)

    def python(self, text: str, names: dict[str, Any]) -> None:
        exec(compile(text, "<documentation>", "exec"), names)

    def page(self, path: Path) -> None:
        """Run the Python of a page, and of the tutorial all there is."""
        names: dict[str, Any] = GIVEN.get(page_name(path), dict)()
        for block in blocks(path):
            if block.file:
                Path(block.file).write_text(block.text, encoding="utf8")
            elif block.lang == "python":
                self.python(block.text, names)
            elif block.lang in SHELL and path == TUTORIAL:
                self.shell(block)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The tutorial, run from its first to its last block; other pages use what it made."""
    folder = tmp_path_factory.mktemp("docs")
    for path in (ROOT / "examples" / "data").iterdir():
        copy = shutil.copytree if path.is_dir() else shutil.copy
        copy(path, folder / path.name)
    shutil.copytree(ROOT / "configs", folder / "configs")
    save_tiny(folder / "encoders" / "tiny", seed=0)
    load = spacy.load
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        # see the fixture quick_map
        patch.setattr("spacy_maral.evaluation.report.figures.tsne", lambda z, seed: z[:, :2])
        patch.setattr(spacy, "load", lambda name, **kw: load(STAND_INS.get(str(name), name), **kw))
        box = Sandbox(folder)
        box.page(TUTORIAL)
        yield box


def test_the_tutorial_runs(sandbox: Sandbox) -> None:
    lines = [x for block in blocks(TUTORIAL) for x in command_lines(block) if spacy_words(x)]
    assert sandbox.done == lines and len(lines) > 15
    assert (sandbox.folder / "report.html").stat().st_size > 10_000
    nlp = spacy.load("student")
    doc = nlp("Angela Merkel visited Paris.")
    assert doc.ents and all(0 < ent._.maral_score <= 1 for ent in doc.ents)
    assert nlp.meta["sources"][0]["name"] == "My English sentences"
    package = sandbox.folder / "packages" / "de_german_news-0.1.0"
    assert (package / "README.md").is_file()
    assert (sandbox.folder / "doubtful.jsonl").read_text(encoding="utf8").strip()


@pytest.mark.parametrize(
    "path", [p for p in PAGES if p != TUTORIAL and any(b.lang == "python" for b in blocks(p))],
    ids=page_name,
)  # fmt: skip
def test_python_of_a_page_runs(path: Path, sandbox: Sandbox) -> None:
    sandbox.page(path)


def settings_blocks() -> list[tuple[str, str]]:
    return [(page_name(path), b.text) for path in PAGES for b in blocks(path) if b.lang == "ini"]


@pytest.mark.parametrize(("page", "text"), settings_blocks())
def test_settings_in_blocks_fit_what_they_name(page: str, text: str) -> None:
    """Registered functions are there and take these settings; they are not called."""
    config = Config().from_str(f"[teacher]\n\n[student]\n\n{text}")
    assert set(config) == {"teacher", "student"}, page
    registry.fill(config, validate=True)


def test_every_stand_in_is_needed(sandbox: Sandbox) -> None:
    text = "".join(path.read_text(encoding="utf8") for path in PAGES)
    assert all(f'spacy.load("{name}")' in text for name in STAND_INS)
    for name, given in GIVEN.items():
        code = "".join(b.text for b in blocks(ROOT / name) if b.lang == "python")
        assert all(re.search(rf"\b{word}\b", code) for word in given()), name


def test_every_block_says_what_it_is() -> None:
    known = {*SHELL, "python", "json", "text", "ini", "yaml", "diff", "bibtex"}
    for path in PAGES:
        for block in blocks(path):
            assert block.lang in known, f"{page_name(path)}: ```{block.lang}"
        assert path.read_text(encoding="utf8").count("```") == 2 * len(blocks(path)), path


# links, references, generated pages


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_links_lead_somewhere(path: Path) -> None:
    for link in links(path):
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), f"{page_name(path)}: {link}"
        assert ROOT in (target, *target.parents), (
            f"{page_name(path)}: {link} is not in the repository"
        )
        if anchor:
            assert anchor in anchors(target), f"{page_name(path)}: {link}"


def test_every_page_is_in_the_index() -> None:
    index = DOCS / "README.md"
    wanted = {p.name for p in DOCS.glob("*.md") if p != index}
    assert wanted <= {link.split("#")[0] for link in links(index)}


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_codes_of_errors_exist(path: Path) -> None:
    for letter, number in re.findall(r"\b([MW])(\d{3})\b", path.read_text(encoding="utf8")):
        assert hasattr(Errors if letter == "M" else Warnings, f"{letter}{number}"), path


def references() -> list[str]:
    """Dotted names in the code font of docs/paper.md."""
    text = (DOCS / "paper.md").read_text(encoding="utf8")
    names = re.findall(r"`([a-z]\w*(?:\.\w+)+)`", text)
    return sorted({name for name in names if not name.endswith((".md", ".cfg", ".py", ".json"))})


def test_the_paper_page_names_much_code() -> None:
    assert sum(not is_setting(name, "") for name in references()) > 30


@pytest.mark.parametrize("name", references())
def test_code_that_the_paper_page_names_exists(name: str) -> None:
    if is_setting(name, ""):
        return
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            thing: Any = importlib.import_module(".".join(["spacy_maral", *parts[:end]]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            fields = getattr(thing, "__dataclass_fields__", {})
            thing = fields[part] if part in fields else getattr(thing, part)
        return
    pytest.fail(f"spacy_maral has no module for {name}")


def test_settings_of_the_paper_are_those_of_its_configuration() -> None:
    config: Any = load_config(ROOT / "configs" / "maral_paper.cfg")
    text = (DOCS / "paper.md").read_text(encoding="utf8")
    rows = re.findall(r"^\|[^|]*\| `([\w.@]+)` \| `([^`]+)` \|", text, re.M)
    model = config["components"]["maral_ner"]["model"]
    blocks_of_settings = {
        "student": config["student"],
        "adaptation": config["adaptation"],
        "components.maral_ner.model": {k: v for k, v in model.items() if not isinstance(v, dict)},
    }
    wanted = {f"{name}.{key}" for name, block in blocks_of_settings.items() for key in block}
    wanted -= {f"components.maral_ner.model.{x}" for x in ("@architectures", "seed")}
    wanted.remove("student.cache")  # a place, which changes nothing
    assert not wanted - {name.partition(".@")[0] for name, _ in rows}, (
        "the page leaves settings out"
    )
    same = {"loss", "decision", "epochs", "prior_scale", "select"}
    for key in set(config["student"]) - same:
        assert config["teacher"][key] == config["student"][key], key
    for name, value in rows:
        found = config
        for part in name.split("."):
            found = found[part]
        assert str(found).lower() == value.lower() or float(found) == float(value), name


def test_generated_pages_are_current() -> None:
    assert not outdated(), "run python tools/build_docs.py"


def test_figures_may_differ_by_rounding_only() -> None:
    drawn = '<path d="M1.5 20L30 4.25"/>'
    assert same_figure(drawn, '<path d="M1.6 20L30 4.2"/>')
    assert not same_figure(drawn, '<path d="M9.5 20L30 4.25"/>')
    assert not same_figure(drawn, '<line d="M1.5 20L30 4.25"/>')


def test_figures_are_small_and_used() -> None:
    used = {
        (path.parent / link).resolve()
        for path in PAGES
        for link in links(path)
        if link.endswith((".svg", ".png"))
    }
    for path in (DOCS / "images").glob("*"):
        assert path.resolve() in used, path.name
        assert path.stat().st_size < 120_000
        if path.suffix == ".svg":
            # a browser shows nothing of a drawing that is not whole
            ElementTree.parse(path)


# one version


def test_the_version_is_stated_once() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf8")
    (version,) = re.findall(r'^version = "([^"]+)"', project, re.M)
    for path in (ROOT / "spacy_maral").rglob("*.py"):
        assert f'"{version}"' not in path.read_text(encoding="utf8"), path
    newest = re.search(
        r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf8"), re.M
    )
    assert newest is not None and newest[1] == version
