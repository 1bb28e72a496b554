"""Rows with texts and entities by character offsets: of spaCy, Prodigy, doccano, Label Studio, Argilla."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from ...errors import Errors, MaralError
from ..annotated import AnnotatedText, ScoredEntity, read_entity, read_tokens
from ..rows import check_text, row_text
from ..sentences import ReadSettings, Sentence, join_words, spaces_of

ENTITY_KEYS = ("entities", "ents", "spans", "label", "labels")
# of Prodigy; a key without underscore may be anything, such as who wrote the text
ANNOTATOR_KEYS = ("_annotator_id", "_session_id")
# a session without a name of its own has the time of its start: one person may have several
UNNAMED = re.compile(r"\d{4}-\d{2}-\d{2}_\d{2}-\d{2}-\d{2}$")
ACCEPT = "accept"
LEFT_OUT = "row without the answer 'accept' left out"
NOT_ANNOTATED = "row without an annotation left out"
NO_ENTITY = "annotation that is no entity left out"


def fits_text(row: Any) -> bool:
    """Whether a row is an object with a text."""
    return isinstance(row, dict) and "text" in row


def fits_doccano(row: Any) -> bool:
    """Whether a row has a text and labels, or entities with doccano's offsets."""
    entities = row.get("entities") if fits_text(row) else None
    is_old = fits_text(row) and any(isinstance(row.get(key), list) for key in ("label", "labels"))
    first = entities[0] if isinstance(entities, list) and entities else None
    return is_old or (isinstance(first, dict) and "start_offset" in first)


def fits_spacy(row: Any) -> bool:
    """Whether a row is what `doc.to_json()` gives."""
    return fits_text(row) and isinstance(row.get("ents"), list)


def fits_prodigy(row: Any) -> bool:
    """Whether a row has a text and spans."""
    return fits_text(row) and isinstance(row.get("spans"), list)


def read_text(row: dict[str, Any], place: str, reading: ReadSettings) -> AnnotatedText | str:
    """Read an object with a "text" and a list of entities under one of ENTITY_KEYS.

    "tokens" hold the words of the text. Rows with an "answer", as in Prodigy, are gold only if it is
    "accept"; others are left out before anything in them is looked at.

    row (dict): The row.
    place (str): Its place, for messages.
    reading (ReadSettings): How it is read.
    RETURNS (AnnotatedText | str): The text, or why the row is left out.
    RAISES (MaralError): If it has no text, or two lists of entities that differ.
    """
    answer = row.get("answer")
    if answer != ACCEPT and (reading.reviewed or answer is not None):
        return LEFT_OUT
    text = row_text(row, place)
    items = _entity_list(row, place) if reading.labelled else []
    found = _annotated(text, items, row.get("tokens"), place, reading)
    who = next((str(row[key]) for key in ANNOTATOR_KEYS if row.get(key)), "")
    found.annotator = "" if UNNAMED.search(who) else who
    return found


def write_jsonl(sentence: Sentence, lang: str) -> dict[str, Any]:
    """RETURNS (dict): A row like those of `annotate`, with the words."""
    text, words, spans = _parts(sentence, lang)
    tokens = [{"text": text[start:end], "start": start, "end": end} for start, end in words]
    return {"text": text, "entities": [_span(*span) for span in spans], "tokens": tokens}


def write_prodigy(sentence: Sentence, lang: str) -> dict[str, Any]:
    """RETURNS (dict): A row for Prodigy's recipe ner.manual."""
    text, words, spans = _parts(sentence, lang)
    tokens = [
        {"text": text[start:end], "start": start, "end": end, "id": number, "ws": text[end : end + 1] == " "}
        for number, (start, end) in enumerate(words)
    ]  # fmt: skip
    found = [
        {**_span(*span), "token_start": entity.start, "token_end": entity.end}
        for span, entity in zip(spans, sentence.entities, strict=True)
    ]
    return {"text": text, "tokens": tokens, "spans": found, "answer": ACCEPT}


def suggest_prodigy(sentence: Sentence, lang: str) -> dict[str, Any]:
    """RETURNS (dict): A row without an answer, which Prodigy adds."""
    row = write_prodigy(sentence, lang)
    del row["answer"]
    return row


def write_spacy(sentence: Sentence, lang: str) -> dict[str, Any]:
    """RETURNS (dict): A row as `doc.to_json()` gives it."""
    text, words, spans = _parts(sentence, lang)
    tokens = [{"id": n, "start": start, "end": end} for n, (start, end) in enumerate(words)]
    return {"text": text, "ents": [_span(*span) for span in spans], "tokens": tokens}


def write_doccano(sentence: Sentence, lang: str) -> dict[str, Any]:
    """RETURNS (dict): A row for doccano, with the words as metadata."""
    text, _, spans = _parts(sentence, lang)
    return {"text": text, "label": [list(span) for span in spans], "tokens": sentence.words}


def fits_annotator(row: Any) -> bool:
    """Whether a row is a pair of a text and its annotation, as spaCy 2 was trained with."""
    return isinstance(row, list) and len(row) == 2 and isinstance(row[0], str)


def read_annotator(row: list[Any], place: str, reading: ReadSettings) -> AnnotatedText | str:
    """Read a pair [text, {"entities": [[start, end, label], ...]}].

    RETURNS (AnnotatedText | str): The text, or why the row is left out.
    RAISES (MaralError): If there are no such entities.
    """
    text, given = row
    given = given if isinstance(given, dict) else {}
    items = _entity_list(given, place) if reading.labelled else []
    return _annotated(check_text(text, place), items, given.get("words"), place, reading)


def write_annotator(sentence: Sentence, lang: str) -> list[Any]:
    """RETURNS (list): A pair of text and annotation."""
    text, _, spans = _parts(sentence, lang)
    return [text, {"entities": [list(span) for span in spans], "words": sentence.words}]


def fits_label_studio(row: Any) -> bool:
    """Whether a row is a task of Label Studio."""
    return isinstance(row, dict) and isinstance(row.get("data"), dict)


def read_label_studio(
    row: dict[str, Any], place: str, reading: ReadSettings
) -> AnnotatedText | str:
    """Read a task with its annotations, of which the cancelled ones do not count.

    RETURNS (AnnotatedText | str): The text, or why the row is left out.
    RAISES (MaralError): If there is no text, or there are annotations that differ.
    """
    given = [item for item in _list(row.get("annotations")) if isinstance(item, dict)]
    kept = [item for item in given if not item.get("was_cancelled")]
    kept = [item for item in kept if item.get("ground_truth")] or kept
    if not kept:
        return NOT_ANNOTATED
    text = _only_text(row["data"], place)
    results = [[_value(item) for item in _list(one.get("result"))] for one in kept]
    entities = [[item for item in one if item is not None] for one in results]
    agreed = _agreed(entities, place) if reading.labelled else []
    for _ in range(len(results[0]) - len(entities[0]) if reading.labelled else 0):
        reading.report.repair(NO_ENTITY, place)
    return _annotated(text, agreed, row["data"].get("tokens"), place, reading)


def write_label_studio(sentence: Sentence, lang: str) -> dict[str, Any]:
    """RETURNS (dict): A task with one annotation, and the words beside the text."""
    text, _, spans = _parts(sentence, lang)
    results = [
        {
            "from_name": "label", "to_name": "text", "type": "labels",
            "value": {"start": start, "end": end, "text": text[start:end], "labels": [label]},
        }
        for start, end, label in spans
    ]  # fmt: skip
    return {"data": {"text": text, "tokens": sentence.words}, "annotations": [{"result": results}]}


def suggest_label_studio(sentence: Sentence, lang: str) -> dict[str, Any]:
    """RETURNS (dict): A task with a prediction, which Label Studio shows as the first annotation."""
    row = write_label_studio(sentence, lang)
    return {"data": row["data"], "predictions": row["annotations"]}


def fits_argilla(row: Any) -> bool:
    """Whether a row is a record of Argilla: of version 2, the same as a flat row, or of version 1."""
    if not isinstance(row, dict):
        return False
    if isinstance(row.get("fields"), dict) or any(key.endswith(".responses") for key in _keys(row)):
        return True
    return "text" in row and "annotation" in row


def read_argilla(row: dict[str, Any], place: str, reading: ReadSettings) -> AnnotatedText | str:
    """Read a record with its responses; suggestions and predictions are no gold.

    RETURNS (AnnotatedText | str): The text, or why the row is left out.
    RAISES (MaralError): If there is no text, or there are responses that differ.
    """
    fields = row.get("fields")
    text = _only_text(fields if isinstance(fields, dict) else {"text": row.get("text")}, place)
    found: list[Any] = []
    responses = row.get("responses")
    for given in responses.values() if isinstance(responses, dict) else ():
        found += [
            one.get("value") for one in _list(given) if isinstance(one, dict) and _counts(one)
        ]
    for key in _keys(row):
        if key.endswith(".responses"):
            status = _list(row.get(f"{key}.status"))
            pairs = zip_longest(_list(row[key]), status)
            found += [value for value, state in pairs if _counts({"status": state})]
    if isinstance(row.get("annotation"), list):
        found.append([_version_1(item) for item in row["annotation"]])
    # of other questions, such as those with several choices or a ranking
    found = [value for value in found if isinstance(value, list) and not _is_choice(value)]
    if not found:
        return NOT_ANNOTATED
    items = _agreed(found, place) if reading.labelled else []
    metadata = row.get("metadata")
    tokens = metadata.get("tokens") if isinstance(metadata, dict) else None
    return _annotated(text, items, row.get("tokens") or tokens, place, reading)


def write_argilla(sentence: Sentence, lang: str) -> dict[str, Any]:
    """RETURNS (dict): A record with one response, and the words as metadata."""
    text, _, spans = _parts(sentence, lang)
    value = [_span(*span) for span in spans]
    return {
        "fields": {"text": text}, "metadata": {"tokens": sentence.words}, "status": "completed",
        "responses": {"spans": [{"value": value, "status": "submitted"}]},
    }  # fmt: skip


def suggest_argilla(sentence: Sentence, lang: str) -> dict[str, Any]:
    """RETURNS (dict): A pending record with a suggestion in place of a response."""
    row = write_argilla(sentence, lang)
    (response,) = row.pop("responses")["spans"]
    return {**row, "status": "pending", "suggestions": {"spans": {"value": response["value"]}}}


def _annotated(
    text: str, items: Sequence[Any], tokens: Any, place: str, reading: ReadSettings
) -> AnnotatedText:
    """A text with its entities; those that are none are problems, all of them."""
    # a text without words has a list of none
    has_tokens = tokens is not None and bool(tokens or text.strip())
    offsets = read_tokens(tokens, text, place) if has_tokens else []
    found: list[ScoredEntity] = []
    for item in items:
        try:
            found.append(read_entity(item, text, place, reading))
        except MaralError as error:
            reading.report.problem(error)
    return AnnotatedText(text, found, place, offsets)


def _entity_list(row: dict[str, Any], place: str) -> list[Any]:
    """The list of entities; an empty one beside another is nothing, two that differ are an error."""
    found = {key: row[key] for key in ENTITY_KEYS if isinstance(row.get(key), list)}
    if not found:
        raise MaralError(Errors.M144.format(place=place, known=", ".join(ENTITY_KEYS)))
    filled = [key for key, items in found.items() if items]
    for key in filled[1:]:
        if sorted(map(_plain, found[key])) != sorted(map(_plain, found[filled[0]])):
            raise MaralError(Errors.M158.format(place=place, first=filled[0], second=key))
    return found[filled[0]] if filled else []


def _plain(item: Any) -> str:
    """What tells an entity from others, whatever its form."""
    if isinstance(item, dict):
        start, end = (
            item.get("start", item.get("start_offset")),
            item.get("end", item.get("end_offset")),
        )
        return repr([start, end, item.get("label")])
    return repr(item[:3] if isinstance(item, list) else item)


def _agreed(annotations: Sequence[list[Any]], place: str) -> list[Any]:
    """The annotation that all annotators agree on."""
    if len({repr(sorted(map(_plain, one))) for one in annotations}) > 1:
        raise MaralError(Errors.M163.format(place=place, n=len(annotations)))
    return annotations[0]


def _value(result: Any) -> dict[str, Any] | None:
    """The entity of a result of Label Studio, or None if it is something else, such as a relation."""
    value = result.get("value") if isinstance(result, dict) else None
    if not isinstance(value, dict) or "start" not in value or "labels" not in value:
        return None
    labels = value["labels"]
    return {**value, "label": labels[0]} if isinstance(labels, list) and len(labels) == 1 else value


def _only_text(fields: dict[str, Any], place: str) -> str:
    """The text of an object: under "text", or its only value that is a text."""
    texts = [value for value in fields.values() if isinstance(value, str)]
    if "text" in fields or len(texts) != 1:
        return row_text(fields, place)
    return check_text(texts[0], place)


def _counts(response: dict[str, Any]) -> bool:
    """Whether a response is submitted, and not a draft or discarded."""
    return response.get("status") in (None, "submitted")


def _is_choice(value: list[Any]) -> bool:
    """Whether a value is an answer other than entities: a list of names, or of names with their ranks."""
    return bool(value) and all(
        isinstance(item, str) or (isinstance(item, dict) and {"value", "rank"} == item.keys())
        for item in value
    )


def _version_1(item: Any) -> Any:
    """An entity of Argilla 1, where the label comes first."""
    return [*item[1:3], item[0]] if isinstance(item, list) and len(item) >= 3 else item


def _list(value: Any) -> list[Any]:
    """A list, or no items."""
    return value if isinstance(value, list) else []


def _keys(row: dict[Any, Any]) -> list[str]:
    return [key for key in row if isinstance(key, str)]


def _parts(
    sentence: Sentence, lang: str
) -> tuple[str, list[tuple[int, int]], list[tuple[int, int, str]]]:
    """Text, offsets of the words, and offsets and labels of the entities."""
    text, words = join_words(sentence.words, spaces_of(sentence, lang))
    spans = [(words[e.start][0], words[e.end][1], e.label) for e in sentence.entities]
    return text, words, spans


def _span(start: int, end: int, label: str) -> dict[str, Any]:
    return {"start": start, "end": end, "label": label}
