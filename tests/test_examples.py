"""The examples run as they are, with a tiny encoder and few steps."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import spacy
from spacy.tokens import DocBin

EXAMPLES = Path(__file__).parent.parent / "examples"
QUICK = {
    "components.maral_ner.model.hidden_width": 24,
    "components.maral_ner.model.dim": 8,
    "components.transformer.model.get_spans.max_chars": 60,
    "teacher.epochs": 1,
    "teacher.min_updates": 0,
    "student.min_updates": 0,
    "teacher.freeze_layers": 0,
    "student.epochs": 2,
    "student.freeze_layers": 0,
}


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def quick(encoder_dir, output, **settings):
    words = ["--encoder", str(encoder_dir), "--output", str(output)]
    return words + [w for k, v in {**QUICK, **settings}.items() for w in (f"--{k}", str(v))]


@pytest.fixture(scope="module")
def german(encoder_dir, tmp_path_factory):
    output = tmp_path_factory.mktemp("german")
    assert example("english_to_german").main(quick(encoder_dir, output)) == 0
    return output


def test_every_example_is_in_the_list():
    listed = (EXAMPLES / "README.md").read_text(encoding="utf8")
    examples = [*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*.ipynb")]
    assert all(f"`{path.name}`" in listed for path in examples)


def test_english_to_german(german):
    nlp = spacy.load(german / "student")
    assert nlp.get_pipe("maral_ner").labels == ("LOC", "ORG", "PER")
    docs = list(DocBin().from_disk(german / "data" / "german.spacy").get_docs(nlp.vocab))
    assert len(docs) > 80 and not any(doc.has_annotation("ENT_IOB") for doc in docs)
    dev = DocBin().from_disk(german / "data" / "dev.spacy").get_docs(nlp.vocab)
    assert sum(len(doc.ents) for doc in dev) > 10


def test_the_notebook_runs_from_top_to_bottom(encoder_dir, tmp_path, monkeypatch, capsys):
    text = (EXAMPLES / "first_minute.ipynb").read_text(encoding="utf8")
    cells = json.loads(text)["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    # outputs would grow old
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
    assert len({cell["id"] for cell in cells}) == len(cells)
    monkeypatch.chdir(EXAMPLES)
    names = {"__name__": "__main__"}
    for cell in code:
        exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
        if cell["id"] == "settings":
            names.update(ENCODER=encoder_dir, OUTPUT=tmp_path)
            names["SETTINGS"].update(QUICK)
    assert spacy.load(tmp_path / "student").get_pipe("maral_ner").labels == ("LOC", "ORG", "PER")
    shown = capsys.readouterr().out
    assert "SuggestReport(sentences=5" in shown and names["doc"].has_annotation("ENT_IOB")


def test_active_learning(german, tmp_path):
    script = example("active_learning")
    # an untrained encoder may find nothing: a rule does in its place
    nlp = spacy.load(german / "student")
    nlp.add_pipe("entity_ruler", config={"overwrite_ents": True}).add_patterns(
        [{"label": "LOC", "pattern": "Madrid"}]
    )

    @spacy.Language.component("half_sure")
    def half_sure(doc):
        for ent in doc.ents:
            ent._.maral_score = 0.5 + 0.01 * (ent.start % 7)
        return doc

    nlp.add_pipe("half_sure")
    nlp.to_disk(tmp_path / "model")
    text, rows = EXAMPLES / "data" / "german", tmp_path / "doubtful.jsonl"
    arguments = ["export", str(tmp_path / "model"), str(text), str(rows), "--lang", "de", "-n", "5"]
    assert script.main(arguments) == 0
    found = [json.loads(line) for line in rows.read_text(encoding="utf8").splitlines()]
    assert len(found) == 5
    scores = [row["meta"]["score"] for row in found]
    assert scores == sorted(scores)
    for number, row in enumerate(found):
        row["answer"] = "accept" if number else "ignore"
    corrected = tmp_path / "corrected.jsonl"
    corrected.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf8")
    assert script.main(["import", str(corrected), str(tmp_path / "gold.spacy")]) == 0
    gold = list(DocBin().from_disk(tmp_path / "gold.spacy").get_docs(nlp.vocab))
    assert [doc.text for doc in gold] == [row["text"] for row in found[1:]]
    assert all(doc.has_annotation("ENT_IOB") for doc in gold)


def test_a_gazetteer_as_the_teacher(encoder_dir, tmp_path):
    assert example("gazetteer_teacher").main(quick(encoder_dir, tmp_path)) == 0
    assert spacy.load(tmp_path / "student").get_pipe("maral_ner").labels == ("LOC", "ORG", "PER")


def test_adding_to_a_pipeline(encoder_dir, tmp_path):
    script = example("add_to_pipeline")
    nlp = script.existing_pipeline(str(encoder_dir))
    text = "Ada Lovelace lives in Paris"
    before = nlp(text)
    first = script.add_entities(nlp, steps=1)
    nlp.remove_pipe("maral_ner")
    last = script.add_entities(nlp, steps=40)
    assert last["maral_ner"] < first["maral_ner"]
    after = nlp(text)
    for attribute in ("TAG", "HEAD", "DEP"):
        assert (before.to_array(attribute) == after.to_array(attribute)).all()
    assert after.has_annotation("ENT_IOB")
    nlp.to_disk(tmp_path / "nlp")
    loaded = spacy.load(tmp_path / "nlp")(text)
    small = script.copy_component(nlp)
    assert small.pipe_names == ["transformer", "maral_ner"]
    ents = [[(e.text, e.label_) for e in doc.ents] for doc in (after, loaded, small(text))]
    assert ents[0] == ents[1] == ents[2]


def test_adding_to_a_pipeline_from_the_command_line(encoder_dir, tmp_path):
    script = example("add_to_pipeline")
    words = ["--encoder", str(encoder_dir), "--output", str(tmp_path / "nlp")]
    assert script.main(words) == 0
    names = ["transformer", "tagger", "parser", "maral_ner"]
    assert spacy.load(tmp_path / "nlp").pipe_names == names


def test_a_language_model_beside_a_student(german, tmp_path, capsys):
    pytest.importorskip("spacy_llm", reason="the extra llm is not installed")
    script = example("compare_with_llm")
    nlp = script.prompted(["LOC", "ORG", "PER"], {"@llm_models": "stand_in_names.v1"})
    doc = nlp("Angela Merkel fährt mit Siemens nach Berlin.")
    found = [("Angela Merkel", "PER"), ("Siemens", "ORG"), ("Berlin", "LOC")]
    assert [(e.text, e.label_) for e in doc.ents] == found
    prompt = next(iter(next(iter(nlp.get_pipe("llm")._task.generate_prompts([doc])))[0]))
    assert doc.text in prompt and "ORG: organisations" in prompt
    gold = spacy.blank("xx").make_doc("Merkel sprach in Berlin .")
    gold.set_ents([spacy.tokens.Span(gold, 0, 1, "PER"), spacy.tokens.Span(gold, 3, 4, "LOC")])
    DocBin(docs=[gold]).to_disk(tmp_path / "test.spacy")
    assert script.main([str(tmp_path / "test.spacy"), str(german / "student")]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    # it finds one of the two
    assert ["language", "model,", "all", "100.00", "50.00", "66.67", "2"] in lines
    assert any(line[:2] == ["student,", "all"] for line in lines)


def test_a_language_model_labels_what_the_teacher_doubts(german, tmp_path, monkeypatch, capsys):
    pytest.importorskip("spacy_llm", reason="the extra llm is not installed")
    monkeypatch.syspath_prepend(EXAMPLES)
    target, labels = german / "data" / "german.spacy", tmp_path / "labels.npz"
    words = [str(german / "teacher"), str(target), str(labels), "--max-share", "0.1"]
    main = example("llm_teacher").main
    assert main(words) == 0
    n_docs = len(DocBin().from_disk(target))
    asked = int(np.load(labels)["asked"])
    assert 0 < asked <= 0.1 * n_docs
    assert f"{asked} sentences to ask for, 0 answered before" in capsys.readouterr().out
    assert main(words) == 0
    assert f"0 sentences to ask for, {asked} answered before" in capsys.readouterr().out
