"""Coded messages: each says what was found and where, the likely cause, and the remedy."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from reprlib import Repr
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


_REPR = Repr()
_REPR.maxlevel, _REPR.maxstring, _REPR.maxother, _REPR.maxlong = 4, 200, 200, 200
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = _REPR.maxset = 20


class MaralError(ValueError):
    """Bad input, a bad configuration or a broken file: a problem that the user can solve."""


def first_line(error: BaseException) -> str:
    """The first line of an error's text, to be quoted in a message; without text, the error's type."""
    text = str(error).strip()
    return text.splitlines()[0].rstrip(" .") if text else type(error).__name__


def refuse_unused(options: Iterable[str], reason: str, remedy: str) -> None:
    """Refuse options that would be dropped without a word.

    options (Iterable[str]): Those that are given; none is no problem.
    reason (str): Why they have no effect. remedy (str): What gives them one.
    RAISES (MaralError): If there are any.
    """
    if names := ", ".join(options):
        raise MaralError(Errors.M578.format(options=names, reason=reason, remedy=remedy))


def did_you_mean(found: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the known name that is like it, if there is one."""
    close = get_close_matches(found, known, n=1)
    return f" Did you mean '{close[0]}'?" if close else ""


def shown(value: object) -> str:
    """A value for a message: never longer than a few lines, whatever it holds."""
    return _REPR.repr(value)


def describe_problems(error: ValidationError, known: Iterable[str], section: str = "") -> str:
    """Describe each wrong setting on a line, with its place, its value and the problem.

    error (ValidationError): What pydantic found.
    known (Iterable[str]): The known settings.
    section (str): Section of the settings, as in "[teacher]".
    RETURNS (str): The lines.
    """
    lines = []
    for found in error.errors():
        problem = found["msg"].removeprefix("Value error, ")
        if not found["loc"]:
            lines.append(f"{section}: {problem}")
            continue
        if found["type"] == "extra_forbidden":
            problem = f"there is no such setting.{did_you_mean(str(found['loc'][-1]), known)}"
        place = f"{section} {'.'.join(map(str, found['loc']))}".strip()
        lines.append(f"{place} = {shown(found['input'])}: {problem}")
    return "\n".join(f"  {line}" for line in lines)


class CodedMessages(type):
    """Puts the code in front of every message, as in "[M001] ..."."""

    def __getattribute__(cls, code: str) -> str:
        message = super().__getattribute__(code)
        return message if code.startswith("__") else f"[{code}] {message}"


class Errors(metaclass=CodedMessages):
    # M0xx: spans, vMF, losses, span model
    M001 = "The widest span must have at least 1 word, but max_width={max_width}. Set max_width to 1 or more."
    M002 = "A document cannot have {length} words. Check the document lengths that the span enumeration gets."
    M003 = "The decision rule '{decision}' does not exist. Choose one of: likelihood, posterior, linear."
    M004 = "{name} must be {rule}, found {value}. Change this setting of the span model."
    M005 = "The span model's features are not finite. The encoder's configuration or weights are damaged, or its numbers overflow. Copy the pipeline again, or train a new one from an intact encoder in float32."
    M021 = "The dimension of the von Mises-Fisher space is {dim}, but must be an integer of at least 2. Change the dimension."
    M023 = "{n_classes} class means cannot form a regular simplex in {dim} dimensions. Raise the feature dimension to at least the number of classes minus one, or use fewer classes."
    M024 = "The shapes of the features {z}, mean directions {direction} and concentrations {concentration} do not match. Pass (N, q), (K, q) and (K,) with the same q and K."
    M025 = "The temperature is {temperature}, but must be above 0. Pass a positive number."
    M026 = "Class {found} is out of range, because there are {n_classes} classes. Pass class numbers from 0 to {n_classes} - 1, or a negative number for a span to leave out."
    M027 = "{found} cannot be normalised to a prior over {n_classes} classes. Pass one finite, non-negative number per class, with at least one above 0."
    M030 = "Scores or features of shape {logits} do not match targets of shape {targets}. Pass (N, K) with either (N,) class numbers or, for soft targets, (N, K) probabilities."
    M031 = "Span weights of shape {weights} do not match {n_spans} spans. Pass one weight per span."
    M032 = "The reduction {reduction!r} does not exist. Choose one of: {known}."

    # M1xx: data
    M101 = "{path} does not exist. Check the path of the data file."
    M102 = "{path} is a folder, not a data file. Name one file, for example {path}/train, or a folder of brat's .ann files or of a Hugging Face dataset."
    M103 = "{place}: the text is not valid UTF-8, found {found}. Convert the file to UTF-8 first (CoNLL-2002 and CoNLL-2003 are distributed in ISO 8859-1)."
    M104 = (
        "{path} holds no sentences. Check that you named the right file and that it is not empty."
    )
    M105 = "There is no data format '{found}'. Choose one of: {known}."
    M106 = "{place}: no known data format has a line like {found!r}. The known formats are {known}. Name the right one with --format to learn what is wrong with the line, or the columns of word and tag with --columns."
    M107 = "{place}: the previous lines look like {seen}, but this one does not: {found!r}. Correct the line, or name the format with --format."
    M108 = "{path} can be read as {seen}, with different results. Name its format with --format, or the columns of word and tag with --columns word=1,tag=2 (counted from 0)."
    M109 = "{place}: too few columns: found {found} in {text!r}, but the format '{format}' needs {expected}. Correct the line, or choose another format with --format."
    M110 = "{place}: too many columns: found {found} in {text!r}, but the format '{format}' needs {expected}. Correct the line: a token must not contain the column separator."
    M111 = "{place}: the token is empty in {text!r}. Add the token, or remove the line."
    M112 = "{place}: {found!r} is not a tag of the format '{format}', which has O and {known} followed by a label, as in B-PER. Correct the tag, or choose another format with --format."
    M113 = "{place}: {found!r} continues an entity, but no entity with this label is open. In the format '{format}' each entity begins with B-. Replace I- by B-, or correct the label, or let --tags repair do it (for files in the IOB1 convention, use --format conll)."
    M114 = "{place}: {found!r} cannot follow {before!r}. In BIOES (BILOU) an entity is S-X (U-X), or B-X, any number of I-X, and E-X (L-X). Correct the tags of this sentence, or let --tags repair do it."
    M115 = "{place}: the label map has no entry for {found!r}, only for {known}. Add an entry (null in JSON, or an empty string, drops the entities of a label), or use another map."
    M116 = "{place}: an entity has the label {found!r}, which is reserved for the outside class. Rename the label, or drop it with a label map."
    M117 = 'The label map {path} cannot be used: {found}. Write a JSON or TOML file of pairs such as {{"Politician": "PER", "Food": null}} (in TOML, an empty string replaces null).'
    M118 = "{path} cannot be read: {found}. Check the file and its permissions."
    M119 = "{path} is not a readable .spacy file ({found}). Make one with 'spacy maral convert'."
    M120 = "{place}: the first column should be the word number {expected}, found {found!r}. Number the words of a sentence 1, 2, 3, ... without ranges, and separate sentences by a blank line, or name the columns with --columns word=1,tag=2."
    M121 = "{place}: {found!r} has no language prefix. A line of the format 'wikiann' is 'xx:token', a tab and the tag. If the file has no prefixes, choose another format with --format."
    M122 = "{place}: no words follow the sentence header {found!r}. Add them, or remove the header."
    M123 = "The output {path} {found}. Name a file that ends in .spacy."
    M124 = "{found!r} is not a language code. Use an ISO 639 code such as de or zh, or xx for several languages or an unknown one."
    M126 = "{place}: the second and third columns should be _, found {text!r}. A line of the format 'multiconer' is 'token _ _ tag' with single spaces. Correct the line, or choose another format."
    M127 = "There is no segmenter '{segmenter}' for the language '{lang}'. Only Chinese (zh) has segmenters: {known}. Omit the option, or change the language."
    # raw text, entities in JSON Lines, corrections
    M140 = "{place}: this is not valid JSON: {problem}. Write one JSON object per line, or one list of objects."
    M141 = "{place}: found {found} instead of a JSON object. Write an object with the key 'text'."
    M142 = '{place}: there is no text under the key \'text\' (found {found}). Write each line as an object such as {{"text": "..."}}.'
    M143 = "{place}: the text has {found}, which is not a valid character. Save the file again as UTF-8."
    M144 = "{place}: there is no list of entities under any of the keys {known}. Write [] if the text has no entities, so that it is not mistaken for text without labels."
    M145 = "{place}: {found} is not an entity of this text ({problem}). Write [start, end, label], or an object with these keys and optionally 'score'. The offsets count characters, and the end is exclusive."
    M146 = "{place}: the tokens do not match the text: {problem}. Omit 'tokens', or list them in order: the words, or objects with 'start' and 'end'."
    M147 = "{place}: the entity {found!r} ({start} to {end}) does not begin and end at word boundaries: {words}. Correct its offsets, add the text's own 'tokens', or choose --misaligned drop or expand."
    M148 = "{place}: the entities {found!r} and {before!r} overlap, but gold entities must not share words. Remove one of them."
    M149 = "spaCy has no tokenizer for '{lang}' in this environment ({problem}). Use another language code, such as xx, or install the packages that the tokenizer of this language needs."
    M150 = "There is no text file in {path}. Add files that end in {known}, optionally followed by .gz."
    M151 = "{path} is not recognised as raw text. Raw text files end in {known}, optionally followed by .gz. If it is one, rename it."
    M152 = "No sentence is left of {paths} ({left_out}). Check that you named the right files, and the limits on the number of words."
    M153 = "{name} must be {rule}, found {value}. Change this option."
    M154 = "{path} lacks {n} of {n_docs} target documents, such as {text!r}. Let the annotator label the same text as the target, mark it with --partial if it was made for some documents only, or give the language with --lang if the documents must be split into sentences like the target."
    M155 = "{path} has no row that was reviewed ({found}). Review the rows first: gold is what has the answer 'accept' (Prodigy), an annotation (Label Studio) or a submitted response (Argilla)."
    M157 = "{path} has {n} problems:\n  {problems}"
    M158 = "{place}: two lists of entities differ: '{first}' and '{second}'. Remove one of them."
    M159 = "--columns {found!r} names no columns ({problem}). Write for example word=1,tag=3; columns count from 0, or backwards from -1."
    M160 = "{place}: tags that are numbers need names, found {found}. Give a JSON file with the list of their names with --tag-names."
    M161 = "{place}: there are {n_tags} tags for {n_words} words. Give each word one tag."
    M162 = "{place}: no known kind of row has the keys {keys}. Known are {known}. Rename the keys, or see 'Which format is my file?' in the documentation."
    M163 = "{place}: {n} annotations of this text differ. Keep one of them, for example the reviewed one."
    M164 = "{place}: {found!r} is not a line of a .ann file. Write 'T1', a tab, type and offsets, a tab, and the text."
    M165 = "{path} has the parts {found}, but no '{split}'. Choose one with --split."
    M166 = "{path} cannot be loaded as a dataset: {problem}. Check its name, and that it is on this machine or can be reached."
    M167 = "The format '{format}' cannot hold document {number} of {path}: {problem}. Correct or remove the document{other}."
    M168 = "Document {number} of {path} has no complete annotation of entities, and a format would show that as text without entities. Export labelled documents only."
    M169 = "{path} has no tags: no word has NER=, name= or ne= in its last column. Name the columns with --columns word=1,tag=3, or convert it with --unlabelled."
    M170 = "{path} exists, and is not of an earlier {output}. Move it, or name another output."
    M171 = "The format '{format}' is not written to {path}, because a file of this name is read as another kind. Name a file that ends in {wanted}."
    M156 = "The documents have no entity with a confidence. Let a pipeline with maral_ner (scores = true) label them first: docs = nlp.pipe(texts)."

    # M2xx: architectures and pipeline
    M201 = "The span model has no classes yet. Call nlp.initialize() with labelled examples, or load a trained pipeline."
    M202 = 'The span model has no encoder, because no transformer comes before the component. To use the word vectors of spaCy\'s tok2vec, set its tok2vec to spacy-maral.WordVectors.v1; otherwise initialise the whole pipeline with nlp.initialize(), and put a transformer first: pipeline = ["transformer","maral_ner"] in [nlp], and\n[components.transformer]\nfactory = "transformer"\n[components.transformer.model]\n@architectures = "spacy-maral.TransformerModel.v1"\nname = "intfloat/multilingual-e5-small"\n[components.transformer.model.get_spans]\n@span_getters = "spacy-maral.bounded_windows.v1"'
    M203 = "The span model needs the first and the last vector of each word, found {found}. Take them from a transformer with the tok2vec spacy-maral.WordPieceEnds.v1, or put the layer that is there now into spacy-maral.WordVectors.v1, as its tok2vec."
    M204 = "The saved span model cannot be read: {problem}. The component's file 'model' is damaged, or spacy-maral did not write it. Copy the pipeline again, or train a new one."
    M205 = "The saved span model has format version {found}, but this release reads only up to {known}. Install a newer release of spacy-maral."
    M206 = "There is no initialised transformer in the pipeline (it has: {pipes}). Add a component 'transformer' before maral_ner and call nlp.initialize()."
    M207 = "The label '{label}' cannot be added, because '{name}' already has its classes ({labels}). Give all labels before nlp.initialize(). To add more labels, train a new model."
    M208 = 'decision = "linear" uses the linear head, but the loss {loss} does not train it. Set the loss to spacy-maral.CrossEntropy.v1, or decision = "likelihood".'
    M209 = "The gold entity '{text}' has the label '{label}', but the model's labels are: {labels}. Initialise with data or a label list that has this label, or convert the data with a label map."
    M210 = "Windows with max_words={max_words}, stride={stride} and max_chars={max_chars} are not possible. Set max_words and max_chars to at least 1, and stride to a value from 1 to max_words."
    M211 = "{label!r} is not a valid entity label. Use a non-empty string other than 'O', which stands for outside."
    M212 = "prior_scale and outside_weight must be at least 0, and memory above 0, found prior_scale={prior_scale}, outside_weight={outside_weight} and memory={memory}. Change these settings of the component."
    M213 = "spans_threshold must be above 0 and at most 1, and needs a spans_key, found spans_threshold={threshold} with spans_key={key!r}. Change these settings of the component."
    M214 = "'{name}' found no labels, because the examples have no entities and there is no label list. Initialise with labelled examples, or set initialize.components.{name}.labels."
    M215 = "There is no {name} '{value}'. Choose one of: {known}."
    M216 = "'{name}' is not a valid language name. It becomes part of file names, so it may have only letters, digits, '_' and '-'. Use a code such as 'de' or 'zh-Hans'."
    M217 = "The configuration {path} cannot be read: {problem}. Correct the file, or write a new one with 'spacy maral init-config'."
    M218 = "The saved component cannot be read: {problem}. Its files or bytes are damaged, or belong to another component than maral_ner. Copy the pipeline again, or train a new one."
    M219 = "The pipeline of the configuration cannot be made: {problem}. Correct its sections [nlp] and [components], or import the code that registers what they name with --code."
    M222 = "max_batch_pieces must be at least 1, found {found}. Change this setting of the transformer's model."
    M223 = "The listener {found} cannot be replaced by an encoder of spacy-maral.TransformerModel.v1. Keep the listener, or use spacy-transformers.TransformerModel.v3 in the transformer."
    M224 = "The saved encoder cannot be read: {problem}. The transformer's file 'model' is damaged, or another architecture than spacy-maral.TransformerModel.v1 wrote it. Copy the pipeline again, or train a new one."
    M225 = "The saved encoder has format version {found}, but this release reads only up to {known}. Install a newer release of spacy-maral."
    M226 = "threshold must be a probability from 0 to 1, found {threshold}. Change this setting of the component; with 0 it writes all entities."
    M227 = "The loss {block} cannot be made: {problem}. Set @losses in the block of the loss to one of {known}, or to a loss that you have registered."
    M228 = "'{name}' has no word vectors for the document {text!r}, because no {source} has read it. Load, enable or source the pipeline's {source} with the component, before it, or join the two first with nlp.replace_listeners('{source}', '{name}', ['{place}'])."
    M230 = "{path} names Python code that would run when the encoder is loaded (auto_map). Use an encoder whose architecture transformers has itself. If you trust the code, set trust_remote_code = true in the transformer's tokenizer_config and transformer_config."

    # M3xx: training, configuration, checkpoints
    M301 = "The configuration has no section [{section}]. Add it; its keys are: {known}."
    M302 = "The configuration is not valid:\n{problems}\nCorrect these settings. The known keys are: {known}."
    M303 = "The {name} documents hold no words ({n_docs} documents). Check that the file was converted from the right input."
    M304 = "In document {doc} of {name}, the entity '{text}' has the label '{label}', but the labels are: {labels}. Convert the data with a label map, or train on data that has this label."
    M305 = "The pseudo-labels in {path} cannot be read: {problem}. Make them again with 'spacy maral pseudo-label'."
    M306 = "The pseudo-labels in {path} do not belong to this run: their {what} is {found}, this run has {wanted}. Make them again with 'spacy maral pseudo-label' from this run's teacher and target."
    M307 = "All checkpoints in {folder} are damaged. Delete that folder and start the run again without --resume."
    M308 = "The checkpoint {path} has format version {found}, but this release reads only up to {known}. Install a newer release to resume the run."
    M309 = "freeze_layers is {wanted}, but the encoder has {n_layers} layers that can be frozen separately, and at least one must be trained. Lower freeze_layers."
    M310 = 'The loss is not finite in step {step} of epoch {epoch} ({docs}); {checkpoint}. Lower the learning rates or set precision = "float32", and start again in another folder.'
    M311 = "The run in {folder} cannot be resumed, because its settings or data have changed:\n  {changed}\nRestore the settings and data, or delete that folder to start again."
    M312 = "There is no entity in {path}. Convert labelled data without --unlabelled."
    M313 = "There is no spaCy pipeline in {path} (no meta.json). Give the output folder of 'spacy maral train-teacher'."
    M314 = "The pipeline of {where} has no component '{component}' (it has: {pipes}). Add it after a transformer."
    M316 = "There is an unfinished run in {folder}. Continue it with --resume, or delete that folder to start again."
    M317 = "The pseudo-labels cover spans of up to {teacher} words, but the student has max_width = {student}. Train teacher and student with the same max_width. Only labels that no maral_ner makes can have another --max-width."
    M318 = "The encoder {encoder} has no masked-language-model head (it was saved as: {architectures}). Set mlm_weight = 0, or use an encoder with a head, such as xlm-roberta-base."
    M319 = "The weights of the best epoch are missing ({path}). Delete that folder and start the run again without --resume."
    M320 = "The checkpoint {path} has the format version {found} of an earlier release, but this release reads {known}. Finish the run with the earlier release, or delete the folder to start again."
    M321 = 'The loss is finite, but the gradients are not, in step {step} of epoch {epoch} ({docs}); {checkpoint}. Lower the learning rates or set precision = "float32", and start again in another folder.'
    M322 = "{path} cannot be written: {problem}. Free some disk space or correct the permissions, then continue with --resume; {checkpoint}."
    M323 = "The run in {folder} is finished, but its settings or data have changed since:\n  {changed}\nRestore the settings and data, give another output folder, or delete {folder} to train again in this one."
    M324 = "Another run is using {folder} ({holder}). Wait until it has ended, or give another output folder."
    M325 = 'The gradients overflow float16 at every loss scale, in step {step} of epoch {epoch} ({docs}); {checkpoint}. Set precision = "bfloat16" or "float32", and start again in another folder.'
    M326 = "Process {rank} of this run lost contact with another one, which has ended or cannot be reached: {problem}. Read that process's messages, then start the run again with --resume. The number of processes may differ."
    M327 = "There are too few documents with words for {size} processes, because each needs at least one. Start fewer processes with --nproc-per-node, or give more documents."
    M330 = '\'{select}\' cannot select a teacher, because a teacher sees no target text. Set select = "source_dev" or "last" in the section [teacher].'
    M331 = "The diagnosis on {path} uses gold labels of the target language. To allow this, set diagnose_with_gold = true in the section [adaptation]; the diagnosis does not influence the run."
    M332 = "No document of {path} has entity annotation. Convert the labelled file without --unlabelled; documents without entities need the annotation 'outside', too."
    M333 = "The development data cannot measure anything: no entity in them has a label of the source ({known}); their labels are: {found}. Give labelled data of the source language, or convert them with a label map."
    M334 = "The language-model head of the encoder {encoder} ({family}) consists of several modules, which this release cannot train. Set mlm_weight = 0, or use an encoder like XLM-R or BERT."
    # several targets, any teacher
    M335 = "There is neither a teacher nor a file of pseudo-labels. Give --teacher, the output of 'spacy maral train-teacher', or --labels, the output of 'spacy maral pseudo-label'."
    M336 = 'init = "teacher" starts the student from the teacher, but there is none. Give --teacher, or set init = "encoder".'
    M337 = "{path} is raw text, and its language is not known. Give the language, for example --lang de."
    M338 = "There are {n} {what} for {n_targets} targets. Give one for all targets, or one per target in the same order."
    M339 = "The pseudo-labels in {path} and {other} do not match: their {what} is {found} and {wanted}. Make both with the same labels and width."
    M340 = "The labels of the new model are not known, because {annotator} may produce any. List them, for example --labels PER,LOC, or give the labelled source data with --source."
    M341 = "{annotator} found no entity of the labels {labels} in the target ({counts}). Check the annotator, the label map and the labels."
    M342 = "The confidence {value} is out of range. Give a number above 0.5 and at most 1."
    M343 = "The score of the entity '{text}' is {found}, read from {place}. Name an attribute that holds a number from 0 to 1, or omit it to give all entities the same confidence."
    M344 = "The pipeline {annotator} sets no spans in doc.spans['{key}']. Give the key that it writes to, or omit the key to use doc.ents."
    M345 = "The GPU {gpu_id} cannot be used: {problem}. Install PyTorch with CUDA and the extra 'cuda' (see docs/gpu.md), or omit --gpu-id to run on the CPU."
    M346 = "The encoder '{name}' cannot be loaded ({problem}). Set paths.encoder to a folder with config.json, tokenizer.json and model.safetensors, or to a name on the Hugging Face hub if the hub can be reached. A clone of spacy-maral can make such a folder: python tools/build_encoder.py --name intfloat/multilingual-e5-small --out encoders/e5-small."
    M347 = "{path} cannot be read: {problem}. It belongs to the cache of the running training. Start the training again with --resume: it rebuilds the missing parts."
    M348 = "The configuration contradicts itself: [components.maral_ner] {name} = {found!r}, but the training is by [{section}] {name} = {wanted!r}. Set {name} in [{section}] only, or to the same value in both."

    # M4xx: evaluation, command line, project
    M401 = "In document {doc}, the entity at word {word} has the label '{label}', but the labels are: {labels}. Give a label list that has this label, or convert the data with a label map."
    M402 = "No document of {path} has entity annotation to compare with. Convert the labelled file without --unlabelled."
    M403 = "The pipeline '{name}' cannot be loaded: {problem}. Give the folder of a trained pipeline or the name of an installed one."
    M404 = "There are no metrics in {folder}. Write them with 'spacy maral evaluate MODEL DATA -o {folder}/teacher-de-test.json', and to student-de-test.json for the student."
    M405 = "{path} does not hold metrics: {problem}. Write it again with 'spacy maral evaluate -o'."
    M406 = "{path} cannot be written: {problem}. Check the folder, its permissions and the free disk space."
    M407 = "The Python file {path} given with --code cannot be imported: {problem}. Correct the file, or omit the option."
    M408 = "There is no configuration size '{size}'. Choose one of: {known}."
    M409 = "{path} exists. Give another file, or overwrite it with --force (-F)."
    M410 = '{path} is not a list of sources: {problem}. Write a JSON or YAML file with a list of objects such as {{"name": "WikiAnn", "url": "https://…", "author": "…", "license": "…"}}. All values are strings, and the name is required.'
    M411 = "{path} is not a trained pipeline that a card can describe: {problem}. Give the output folder of 'spacy maral adapt' or 'train-teacher'."
    M412 = "The test set of {one} and {other} would have the same name in the card, '{name}'. Rename one of the files, or leave it out."
    M420 = "The benchmark {path} cannot be read: {problem}. Write a YAML file like configs/benchmark.yml."
    M421 = "The benchmark {path} is not valid:\n{problems}\nCorrect these keys. The known keys are: {known}."
    M422 = "The benchmark {path} uses the configuration {config}, which does not exist. Set the key 'config' to a path relative to the benchmark's file."
    M423 = "The benchmark {path} is not valid: {place}: {problem} Correct this key."
    M424 = "The benchmark has no run for '{name}'. Choose from: {known}."
    M425 = "The benchmark needs these missing files: {paths}. Add them, or give with --data the folder that holds them under names like {pattern}."
    M426 = "'spacy maral {command}' failed with exit code {code}. The end of {log}:\n{tail}\nSolve this problem and run the benchmark again; it keeps finished runs."
    M427 = "{path} cannot be read: {problem}. Delete the folder that holds it and run the benchmark again."
    M428 = "The benchmark {path} changes settings without effect:\n{problems}\nRemove these keys."
    M560 = "The size 'paper' has the batches and epochs of the paper, so they cannot be chosen for {sentences:,} sentences. Omit --sentences, or take --size small."
    M561 = "There is no {missing}. Set it in [paths] of {path}, or give {options}."
    M562 = "One training of teacher and student cannot be shared by several processes. Run 'train-teacher', 'pseudo-label' and 'adapt' one after the other, each with torchrun where it is to be shared."
    M563 = "The confidences cannot be calibrated on {path}: {correct} of {n} predicted entities are correct. At least {least} predicted entities are needed, with correct and wrong ones among them. Give more labelled documents."
    M564 = "The precision {precision} is out of range. Give a number above 0 and below 1, such as 0.95."
    M565 = "No threshold gives a precision of {precision} on {path}: the best is {best:.1f} %. Ask for less, or improve the model."
    M566 = "Suspects need the scores of a model that has not seen the labels. Give either --model, a pipeline that was not trained on the file, or --config, to train models on parts of the file."
    M567 = "{n_docs:,} documents with {n_texts:,} different texts cannot be divided into {folds} folds, as copies of a text stay together. Give a number of folds from 2 to the number of different texts."
    M568 = "'{repository}' is no name of a repository on the hub ({problem}). Give owner and name, as in ME/german_news."
    M569 = "The hub did not take {repository} ({problem}). Log in with 'hf auth login' or set HF_TOKEN to a token that may write, and check the network and the owner's name."
    M570 = "The pipeline {path} has no word vectors. Give one that has, such as one that 'spacy init vectors' has written, or omit --vectors."
    M571 = "There is too little text to distil: {n:,} texts with {entities:,} entities are left to train on, and {held_out:,} entities to choose the epoch by (left out: {left_out}). Give more text, a larger --doubt, or labelled text with --dev."
    M572 = "{path} has labels that the teacher does not have: {labels}. Its labels are {known}. Map or drop them with 'spacy maral convert --label-map'."
    M573 = "{options} cannot be used with '--to {to}'. Omit it, or distil into something else."
    M574 = "The layers to keep are '{found}', but {rule}. Give a number of layers such as 6, or their numbers from 0 as in 0,3,6,9,11; the encoder has {n_layers}."
    M575 = "This encoder cannot lose layers: {problem}. Distil it into spaCy's own components ('--to tok2vec'), or start from another encoder."
    M576 = "There is too little text to distil: {n:,} texts with {words:,} words are left to train on, and {held_out:,} entities to choose the epoch by. Give more text, or labelled text with --dev."
    M577 = "The configuration of the new pipeline has no setting {names}.{hint} Give settings of spaCy's config file, such as training.max_steps."
    M578 = "{options} would have no effect: {reason}. Omit it, or {remedy}."
    M579 = "{path}: {n:,} of {n_docs:,} documents have entities, and all of these are in one of {folds} folds, so that a model of the others would learn none. Give --model, data with more entities, or another number of folds."
    M580 = "The largest share of sentences to ask for, {value}, is out of range. Give a number above 0 and at most 1, such as 0.2."
    M581 = "{annotator} failed at the sentence {text!r} ({problem}). {done} answers are in {path}. Run the same command again when the cause is gone: it asks only for the others."
    M440 = "{folder} does not hold a training run: there is no training/log.jsonl in it. Give the output folder of 'spacy maral adapt' or 'spacy maral train-teacher' after its first epoch."
    M441 = "{path} cannot be read: {problem}. The file is damaged, or a training run did not write it. Run the training again, or remove the file to get a report without it."
    M442 = "{path} has format version {found}, but this release reads only up to {known}. Install a newer release of spacy-maral."
    M460 = "The logger spacy-maral.TensorBoardLogger.v1 needs TensorBoard ({problem}). Install it with 'pip install tensorboard'."
    M461 = "The vocabulary of this pipeline's encoder cannot be trimmed: {problem}. Keep the pipeline as it is, or start from another encoder."
    M462 = "The encoder has vectors for {rows:,} word pieces, but the language-model head of '{encoder}' scores {scores:,}, because the encoder was trimmed. Set mlm_weight to 0, or start from the encoder (adaptation.init)."
    M463 = "The encoder's weights are stored as {weights}, for inference only, and cannot be trained. Train the pipeline that it was made from, and optimise the result."
    M464 = "The pipeline has no transformer of the architecture spacy-maral.TransformerModel.v1, found: {found}. Give a pipeline that was trained with a configuration of this package."
    M465 = "The address {address} cannot be opened: {problem}. Install the package for such addresses (s3fs for s3://, gcsfs for gs://, adlfs for abfs://), check your credentials, or copy the files to this machine."
    M466 = "{address} does not exist. Check the path or address of the corpus."
    M467 = "{address} holds no corpus files. Corpus files end in: {known}."
    M468 = "{address} does not end like a corpus file. Corpus files end in: {known}."
    M469 = "{address} and {other} would both become '{name}' in the output folder. Give the folder above them as the input, or annotate them to different folders."
    M470 = "The output folder {output} and the input {address} overlap, so output files could be read as input. Give a separate output folder."
    M471 = "{what} needs a package that is not installed ({problem}). Install it with 'pip install \"spacy-maral[{extra}]\"'."
    M472 = "{address} has no text column '{field}'. It has: {found}. Name the column with --text-field."
    M473 = "{place}: the id is {found}, but must be a string or a number. Correct the id, or name another key with --id-field."
    M474 = "The run in {output} was started with other settings:\n  {changed}\nGive a new output folder, or restore the settings."
    M475 = "{n} of {shards} shards failed, {done} are done:\n  {failures}\nSolve these problems and run the same command again; it repeats only the shards that are not done."
    M476 = "The model failed on {n} documents in a row, the last of them '{id}', with {problem}. If the documents are at fault, raise --give-up: the run then sets them aside."
    M477 = "'{name}' is neither the folder of a pipeline (it has no meta.json) nor an installed pipeline. Give the output of train-teacher or adapt, or the name of an installed pipeline."
    M478 = "On this worker, '{name}' is {found}, but the run was started with {wanted}. Give all machines the same model, at the same path or installed."
    M479 = "Ray cannot be started or reached ({problem}). Check --address, and that all machines have the same releases of Python and Ray."
    M480 = "A Ray worker failed: {problem} Check that all machines have spacy-maral, the model, and the files at the given paths."
    M481 = "{name} must be {rule}, found {value}. Change this setting."
    M482 = "{address} cannot be read: {problem}. Replace the file and start again."
    M483 = "{shard}: {times} workers died on this shard one after the other without giving a reason (often they run out of memory). Lower --batch-words, give workers more memory, or divide the shard; the next start tries it again."
    M484 = (
        "{shard}: Ray lost this shard. Read Ray's own messages (with --verbose), and start again."
    )
    M530 = "The pipeline '{name}' was replaced each of the {times} times that it was loaded. Load it when the training or command that writes it has ended."
    M531 = "{place}: the line or text has {size:.1f} MiB, and more than {most} MiB are not read. Divide it into documents, one a line."
    M533 = "This text took longer than {seconds:g} seconds. Divide it, or raise --text-seconds (0 for no limit)."
    M534 = "The encoder's output in doc._.trf_data ({name}) was dropped when maral_ner had found the entities. For components after it that use it, set keep_trf_data = true in [components.maral_ner], or nlp.get_pipe('maral_ner').cfg['keep_trf_data'] = True."
    M535 = "The records of the run in {folder} cannot be shown ({problem}): a file in its folder 'training' is damaged. Copy the folder again, or delete the damaged file of diagnostics."

    # what the paper's settings need
    M550 = "The target {path} has no use: its text is for masked language modelling, and teacher.mlm_weight is 0. Leave --target out, or set a weight such as --teacher.mlm_weight 0.001 (the encoder needs a masked-language-model head)."

    # M52x: offset, test sets of benchmarks
    M520 = "offset must be a number from -{most:,.0f} to {most:,.0f}, or such a number for each of some labels, found {offset!r}. Change this setting of the component; with 0 it does not shift any score."
    M521 = "offset names labels that the component does not have: {unknown}. Its labels are: {labels}. Correct the names, or give one number for all labels."
    # M59x: word vectors of other components
    M590 = '\'{name}\' listens to a {kind}, but none comes before it (the pipeline is: {pipes}). To take the word vectors of spaCy\'s tok2vec, put it first: pipeline = ["tok2vec","{name}"] in [nlp], and\n[components.{name}.model.tok2vec]\n@architectures = "spacy-maral.WordVectors.v1"\n[components.{name}.model.tok2vec.tok2vec]\n@architectures = "spacy.Tok2VecListener.v1"\nwidth = {width}'
    M591 = "spacy-maral.WordVectors.v1 needs an array for each document, with a row for each word{wanted}, but its tok2vec gave {found}. Use a tok2vec of spaCy; a listener needs the width of the component that it listens to."
    M592 = "{where}: this command trains or reads the transformer of a pipeline itself, and '{name}' has none (the pipeline is: {pipes}). Train a pipeline on spaCy's tok2vec with 'spacy train', as in configs/tok2vec.cfg; as a teacher of another pipeline, label the target with it by 'spacy maral pseudo-label'."
    M593 = "The configuration of the encoder '{name}' names code that would be fetched and run ({kernel}, an attention kernel). Take an encoder without it, or remove _attn_implementation_internal from its config.json. If you trust the code, set attn_implementation = \"{kernel}\" in the transformer's transformer_config."
    M594 = "spacy-transformers {spacy_transformers} does not work with transformers {transformers}: {problem}. Either 'pip install \"transformers<4.53.3\"', or 'pip uninstall spacy-transformers': pipelines of spacy-maral do not need it."

    # M5xx: name memories
    M500 = "names.{name} must be {rule}, found {value}. Change this setting of the component."
    M501 = "The saved name memory has format version {found}, but this release reads only up to {known}. Install a newer release of spacy-maral."
    M502 = "The saved name memory cannot be read: {problem}. Copy the pipeline again, or delete its component's file 'names' and build the memory again with 'spacy maral names build'."
    M503 = "The saved name memory has the labels {found}, but the component has {labels}. Build the memory again with 'spacy maral names build'."
    M504 = "The setting names has no key {found}. Give a block [components.maral_ner.names] with any of {known}, or null for off."
    M505 = "The pipeline {model} has no name memory. Build one with 'spacy maral names build'."
    # M51x: labelled sentences of the target
    M510 = 'select = "{select}" chooses the epoch by labelled sentences of the target, but there are none. Give them with --target-gold, or set select to another value.'
    M511 = "{path}: sentence {number} of those with annotation has the entity '{text}' of the label '{label}', but the labels of the source are: {labels}. Convert the file with a label map, or give source data with this label."
    M512 = "No sentence of {path} is left to train on: of {n_docs}, {n_held} are not in the development data, and all of these are held out. Give other sentences, or lower target_gold_holdout."
    M513 = "Every sentence of {name} is also in the labelled sentences of the target, so that there is no raw text to adapt to. Give more text with --target."
    M515 = "{model} has no component 'maral_ner', which gives the probabilities that show what it doubts. Give the output of 'spacy maral train-teacher' or 'adapt'."
    M516 = "There is no sentence to suggest in {paths}: each has no words or is excluded. Give more text, or fewer files with --exclude."
    M517 = "{n} labelled sentences of {path} are wanted, but only {found} can be had: at most {most}, and none that are in the raw text or in the test set. Lower target_gold or target_sentences in the benchmark."
    # M54x: labels projected onto translations
    M540 = "{target} has {n_target:,} sentences, but {source} has {n_source:,}. The n-th sentence of the translation has to belong to the n-th labelled one; where there is no translation, a text has an empty line."
    M541 = "No sentence of {path} can get labels from its original (left out: {reasons}). Check that the originals are wholly annotated, that both files have the same sentences in the same order, and that the encoder knows both languages."
    M542 = "The encoder has no layer {found}: {rule}. Give another number, or omit it."
    M543 = "{name} has no encoder to align words with (its components are: {pipes}). Give a pipeline with a transformer, such as the output of 'spacy maral train-teacher'."
    M544 = "The output {path} is one of the inputs, or in a folder that is read. Name another one."
    M545 = "No word of the source has a translation in {paths}. Check that the text is of the target language and that the encoder knows both languages, or give a lexicon with --lexicon."
    M546 = "{place}: a line of a lexicon has a word, a tab and its translation, but this one is {found!r}. Separate both by one tab."
    M547 = "The lexicon {path} has no translation. Write a word, a tab and its translation into each line."
    # M61x: several annotators
    M610 = "'{unknown}' is marked as partial (--partial), but is not one of the annotators: {annotators}. Write it as it stands there."
    M611 = "combine is {value}, but has to be one of: {known}."
    M612 = "{annotator} is marked as partial (--partial), but it has a component 'maral_ner', which says something about every span. Leave it out of --partial."
    # M62x: loggers
    M620 = "The logger {name} needs the package {package}, which is not installed. Install it with 'pip install {package}', or take the block of the logger ([teacher.logger] or [student.logger]) out of the configuration."
    M621 = "The logger {name} cannot be made: {problem}. Correct the block of the logger ([teacher.logger] or [student.logger]), or take it out of the configuration."


class Warnings(metaclass=CodedMessages):
    # W1xx: data
    W101 = "{path}: the tags follow neither IOB1 nor IOB2: {inside} entities begin with I- (the first at {place}), and {begin} with B- where IOB1 has I-. All of them are read as entities. Check the file."
    W102 = "{path}: the language asked for is '{lang}', but the file says '{found}'. Check the language code."
    W103 = "spaCy has no tokenizer for '{lang}'. The one for several languages is used: it splits at white space and punctuation."
    W104 = "{path}: the tokenizer of '{lang}', which divides this text into words, is not that of the pipeline ({own}). In use, the pipeline will divide such text into other words, and find few names or none. Train a pipeline for this language alone, with its nlp.lang and nlp.tokenizer ('spacy maral init-config'); if you want other Chinese words than single characters, prepare the text with 'spacy maral prepare-text --segmenter'."

    # W2xx: architectures and pipeline
    W201 = "'{name}': {n_unaligned} gold entities of this batch do not end where words of the tokenised text end (the loss leaves them out), and {n_too_wide} are longer than max_width = {max_width} words (they are not candidates). This warning appears only once; later batches are treated alike."
    W205 = "The encoder was saved with other tensors ({names}), perhaps by another release of transformers. Compare its predictions with those of the original environment, and train again if they differ."
    W206 = "The setting include_outside is now part of outside_weight: include_outside = false is read as outside_weight = 0, and include_outside = true as the outside_weight that is set. Remove include_outside from the configuration."
    W207 = 'The setting loss = "{old}" of release 0.1 is read as @losses = "{new}". Write this line in a block of its own, such as [student.loss] or [components.maral_ner.loss].'
    W208 = "With pseudo_count = 0 the class means have no start of their own: features of a new model are alike, so that the means are nearly equal at first, and the max-margin loss may not drive them apart. Use it to follow the paper to the letter; otherwise remove the setting."
    W209 = "The encoder's {name} is 0, because release 0.1 rounded it, and is read as {value}, the default of its architecture. Save the pipeline again to keep it so."
    W210 = "trust_remote_code = true: loading the encoder '{name}' runs Python code that comes with it. A pipeline that is trained with it loads only if transformers has its architecture, too."

    # W3xx: training, configuration, checkpoints
    W301 = "The checkpoint {path} is damaged ({problem}). The run continues from the previous one."
    W302 = "{n:,} gold entities of the source ({share:.1f} %) are longer than max_width = {max_width} words and cannot be found: {by_type}. Raise max_width to find them, at the cost of time; 'spacy maral stats' shows how long entities are."
    W303 = "With the frozen-layer states, the files in {folder} would take {needed:.1f} GiB, more than frozen_cache = {limit} GiB, so every epoch computes them again. Raise frozen_cache to train faster, or give the training a cache of its own."
    W304 = "The run in {folder} is finished, with the same settings and data: there is nothing left to do."
    W305 = "Stopping: the run saves its state after this step, or at the end of the epoch if it is there already. Interrupt again to stop at once and fall back to the last checkpoint."
    W306 = "The run was stopped {when}. Its state is saved in {path}. Continue with the same command and --resume."
    W307 = "{output} already has a pipeline, which this run replaces when it ends. To keep it, interrupt the run and give another output folder."
    W308 = "This run has only {n} updates, too few for any but very simple text. Raise epochs (now {epochs}), or lower batch_tokens (now {size}), in its section until there are some hundreds."
    W332 = "{n:,} of {n_docs:,} documents of {path} have no entity annotation. They are left out: missing annotation does not say that there are no entities."
    W333 = "The pseudo-labels of the target have no entity at all: {annotator} found nothing. The student would learn that the target has no entities. Check teacher, target and labels."
    W334 = "No span of the target has a pseudo-label of: {labels}. The student learns these labels from the source alone."
    W335 = "{annotator}: {n} of {n_all} entities are not used as labels: {counts}. The labels of their words are {words}."
    W336 = 'adaptation.warmup_epochs = {warmup}, and student.epochs = {epochs}: the pseudo-labels are never filtered or refined, which begins after the warm-up and ends before the last epoch. Give the student more epochs than that, or set adaptation.filter = false and adaptation.guidance = "none".'

    # W4xx: evaluation, command line, project
    W402 = "{n:,} of {n_docs:,} documents of {path} have no entity annotation. They are left out of the scores."
    W413 = "The metrics of {name} are those of {other}, and the card is that of {model}. Give the metrics of this pipeline ('spacy maral evaluate')."
    W450 = "F1 on the test data changes by {change} points, a loss of more than {most}. Give 'trim-vocab' more text, or keep the original pipeline."
    W451 = "There are no test data, so the loss in accuracy is not known. Give labelled data with --test."
    W452 = "This processor does not compute in bfloat16, so here the new pipeline is only as fast as the original."
    W570 = "F1 on the labelled data changes by {change} points, a loss of more than {most}. Give 'distil' more raw text, and labelled text with --gold, or ship the teacher."
    W465 = (
        "{n} shards have changed since they were annotated, so they are annotated again: {shards}."
    )
    W466 = "Stopped: {done} of {shards} shards are done. Run the same command again to continue with the others."
    W467 = "Stopped. Run the same command again to continue with the interrupted run and the remaining ones."
    W530 = "The run in {folder} is finished, but files of its pipeline are missing or have changed: {files}. It is run again from the beginning."
    W531 = "The summary {path} is damaged ({problem}), so that nothing says whether its pipeline is whole. The run begins again."
    W532 = "{path} has changed since the pipeline was saved. If you have edited it, all is well, and saving the pipeline again ends this warning; otherwise copy the pipeline again."
    W533 = "The run began with {before} threads and continues with {now}, so that its numbers are rounded differently from here on. For the weights of a run that was never interrupted, stop it and resume with OMP_NUM_THREADS={before}."
    W534 = "The record of the run, {place}, is damaged and has been made again. Shards are done again unless their own records say that they were annotated with these settings."
    W535 = "The vocabulary {path} is not the one that maral_ner was saved with ({files}). If maral_ner comes from another pipeline (nlp.add_pipe with source), all is well, and saving this pipeline again, once it is loaded, ends this warning; otherwise copy the pipeline again."

    # W51x: labelled sentences of the target
    W506 = "{model} was calibrated for confidences without this change of its name memory. Its confidences, and a threshold that was chosen for a precision, are less right than before: run 'spacy maral calibrate' again."
    W509 = "In the raw target text the student departs from the pseudo-labels that it has learned from, which may be an improvement or a loss. Read some of its entities ('spacy maral annotate'), or measure it on a hundred labelled sentences, before you use it:\n  {departures}"
    W510 = 'None of the {n} labelled sentences of the target is held out, so that none can choose the epoch: select = "{usual}" does. Give {enough} sentences or more, or set target_gold_holdout.'
    W511 = "{n:,} of {n_docs:,} sentences of {path} are also in the development data or the diagnosis. They are left out: what measures a model must not teach it."
    W512 = "{n} sentences are wanted, but there are only {found} different ones. All are suggested. Give more text, or fewer files with --exclude."
    W513 = "{comparison} A few dozen sentences prove little, and these have chosen the offsets: compare the two on others, such as sentences from 'suggest --random' ('spacy maral evaluate' for each), and ship the better one."

    # W61x: several annotators
    W610 = "{path} lacks {n:,} of {n_docs:,} target documents. As a partial annotator it says nothing about them."
    W611 = "There is no pipeline with maral_ner among the annotators ({annotators}), and fewer than {enough} annotators: their agreement alone hardly shows which of them is right. Add the teacher, or another annotator."
