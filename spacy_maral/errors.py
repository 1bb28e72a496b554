"""Coded messages: every error names the offending value, where it stands and what to do."""

from __future__ import annotations


class MaralError(ValueError):
    """Bad input, bad configuration or a broken file: something the user can put right."""


def first_line(error: BaseException) -> str:
    """What an error says first, to be quoted in a message; its kind if it says nothing."""
    text = str(error).strip()
    return text.splitlines()[0].rstrip(" .") if text else type(error).__name__


class CodedMessages(type):
    """Makes every message start with its code, as in "[M001] ..."."""

    def __getattribute__(cls, code: str) -> str:
        message = super().__getattribute__(code)
        return message if code.startswith("__") else f"[{code}] {message}"


class Errors(metaclass=CodedMessages):
    # M0xx: spans, vMF, losses, span model
    M001 = "Span width must be at least 1 word, found max_width={max_width}. Set max_width to 1 or more."
    M002 = "A document cannot have {length} words. Check the lengths given to the span enumeration."
    M003 = "The decision rule '{decision}' does not exist. Choose one of: likelihood, posterior, linear."
    M004 = "{name} must be {rule}, found {value}. Change this setting of the span model."
    M021 = "The dimension of the von Mises-Fisher space is {dim}: give an integer of at least 2."
    M022 = (
        "Unknown method {method!r} for dimension {dim}: use 'auto', or 'miller' with an even dimension "
        "(its recurrence needs an integer order)."
    )
    M023 = (
        "{n_classes} class means cannot form a regular simplex in {dim} dimensions: raise the feature "
        "dimension to the number of classes less one, or lower the number of classes."
    )
    M024 = (
        "Features {z}, mean directions {direction} and concentrations {concentration} do not fit: "
        "give (N, q), (K, q) and (K,), with the same q and K."
    )
    M025 = "The temperature is {temperature}: give a number above 0."
    M026 = (
        "Class {found} cannot be counted, there are {n_classes} classes: give classes from 0 to "
        "{n_classes} - 1, or a negative one for spans to leave out."
    )
    M027 = (
        "No prior over {n_classes} classes can be made of {found}: give one finite number per class, "
        "none negative, not all of them 0."
    )
    M030 = (
        "Scores or features of shape {logits} and targets of shape {targets} do not fit: give (N, K) "
        "and either (N,) class numbers or, for soft targets, (N, K) probabilities."
    )
    M031 = "Span weights of shape {weights} do not fit {n_spans} spans: give one weight per span."
    M032 = "Unknown reduction {reduction!r}: use one of {known}."
    # end of M0xx

    # M1xx: data
    M101 = "{path} does not exist. Check the path to the data file."
    M102 = "{path} is a folder, not a data file. Name one file, for example {path}/train."
    M103 = (
        "{place}: the text is not valid UTF-8, found {found}. Convert the file to UTF-8 first "
        "(CoNLL-2002 and -2003 are distributed in ISO 8859-1)."
    )
    M104 = "{path} holds no sentence. Check that the right file was given and that it is not empty."
    M105 = "There is no data format '{found}'. Choose one of: {known}."
    M106 = (
        "{place}: no known data format has a line like {found!r}. Known are {known}; name the right "
        "one with --format (read_sentences(format=...)), and the message then says what is wrong."
    )
    M107 = (
        "{place}: the lines before this one look like {seen}, but this one does not: {found!r}. "
        "Put the line right, or name the format with --format."
    )
    M108 = (
        "{path} can be read as {seen}, with different results. Say which one it is with --format."
    )
    M109 = (
        "{place}: too few columns: found {found} in {text!r}, the format '{format}' needs {expected}. "
        "Put the line right, or choose another format with --format."
    )
    M110 = (
        "{place}: too many columns: found {found} in {text!r}, the format '{format}' needs "
        "{expected}. A token must not contain the column separator; put the line right."
    )
    M111 = "{place}: the token is empty in {text!r}. Remove the line, or write the token."
    M112 = (
        "{place}: {found!r} is not a tag of the format '{format}', which knows O and {known} "
        "followed by a label, as in B-PER. Put the tag right, or choose another format with --format."
    )
    M113 = (
        "{place}: {found!r} continues an entity, but none with this label is open here. The format "
        "'{format}' wants each entity to begin with B-. Write B- in place of I-, or correct the label "
        "(files in the IOB1 convention are read with --format conll)."
    )
    M114 = (
        "{place}: {found!r} cannot follow {before!r}: in BIOES (BILOU) an entity is S-X (U-X), or "
        "B-X, any number of I-X, and E-X (L-X). Put the tags of this sentence right."
    )
    M115 = (
        "{place}: the label map knows no label {found!r}, only {known}. Add it to the map (null in "
        "JSON, or an empty string, leaves its entities out), or use another map."
    )
    M116 = (
        "{place}: an entity has the label {found!r}, which is the name of the outside class. Give the "
        "label another name, or leave it out with a label map."
    )
    M117 = (
        "The label map {path} cannot be used: {found}. Write a JSON or TOML file of pairs such as "
        '{{"Politician": "PER", "Food": null}} (in TOML an empty string stands for null).'
    )
    M118 = "{path} cannot be read: {found}. Check the file and its permissions."
    M119 = "{path} is no readable .spacy file ({found}). Make one with 'spacy maral convert'."
    M120 = (
        "{place}: the first column should be the word number {expected}, found {found!r}. Number the "
        "words of a sentence 1, 2, 3, ... without ranges, and put a blank line between sentences."
    )
    M121 = (
        "{place}: {found!r} has no language prefix. The format 'wikiann' wants 'xx:token', a tab and "
        "the tag; choose another format with --format if the file has none."
    )
    M122 = "{place}: the sentence header {found!r} is followed by no words. Remove it, or add them."
    M123 = "The output {path} {found}. Name a file that ends in .spacy."
    M124 = (
        "{found!r} is no language code. Give an ISO 639 code such as de or zh, or xx for several "
        "languages or an unknown one."
    )
    M125 = (
        "{path} cannot be written: {found}. Check the folder, its permissions and the free space."
    )
    M126 = (
        "{place}: the second and third column should be _, found {text!r}. The format 'multiconer' "
        "wants 'token _ _ tag' with single spaces; put the line right, or choose another format."
    )
    # raw text, entities in JSON Lines, corrections
    M140 = "{place}: this line is no JSON: {problem}. Put the line right, one JSON object a line."
    M141 = (
        "{place}: found {found} where a JSON object should be. Write an object with the key 'text'."
    )
    M142 = (
        "{place}: there is no text under the key 'text' (found {found}). Each line is an object such as "
        '{{"text": "..."}}.'
    )
    M143 = "{place}: the text has {found}, which is no character. Write the file again as UTF-8."
    M144 = (
        "{place}: no list of entities under any of the keys {known}. Write [] where there are none, so "
        "that text without labels is not taken for text without entities."
    )
    M145 = (
        "{place}: {found} is no entity of this text ({problem}). Give [start, end, label], or an object "
        "with these keys and perhaps 'score', with character offsets, the end exclusive."
    )
    M146 = (
        "{place}: the tokens do not follow the text: {problem}. Leave 'tokens' out, or give each its "
        "'text', 'start' and 'end' in order."
    )
    M147 = (
        "{place}: the entity {found!r} ({start} to {end}) does not begin and end where words do: {words}. "
        "Move its ends, or give the text's own 'tokens'."
    )
    M148 = (
        "{place}: the entities {found!r} and {before!r} overlap. Keep one of them: gold entities share "
        "no word."
    )
    M149 = (
        "spaCy has no tokenizer for '{lang}' here ({problem}). Give another language code, such as xx, or "
        "install what the tokenizer of this language needs."
    )
    M150 = "There is no text file in {path}. Put files there that end in {known}, perhaps with .gz."
    M151 = (
        "{path} is no file of raw text: its name should end in {known}, perhaps with .gz. Rename it if "
        "it is one."
    )
    M152 = (
        "No sentence is left of {paths} ({left_out}). Check that the right files were given, and the "
        "limits of words."
    )
    M153 = "{name} must be {rule}, found {value}. Change this option."
    M154 = (
        "{n} of {n_docs} target documents are not in {path}, such as {text!r}. Let the annotator label the "
        "same text as the target, or give the language for documents to be split into sentences as they "
        "were for the target."
    )
    M155 = (
        "{path} has no row with the answer 'accept' ({found}). Review the rows first; those that nobody "
        "has answered are not taken for gold."
    )
    M156 = (
        "The documents have no entity with a confidence. Let a pipeline with maral_ner (scores = true) "
        "label them first: docs = nlp.pipe(texts)."
    )
    # end of M1xx

    # M2xx: architectures and pipeline
    M201 = (
        "The span model has no classes yet. Call nlp.initialize() with labelled examples first, or "
        "load a trained pipeline."
    )
    M202 = (
        "The span model cannot be made without knowing its {what}. Put a transformer before the "
        "component and initialise the whole pipeline with nlp.initialize()."
    )
    M203 = (
        "WordPieceEnds needs the output of a spacy-transformers component, found {found}. Use a "
        "component 'transformer' with the architecture spacy-maral.TransformerModel.v1."
    )
    M204 = (
        "The saved span model cannot be read: {problem}. The file 'model' of the component is damaged "
        "or was not written by spacy-maral; train or copy the pipeline again."
    )
    M205 = (
        "The saved span model has format version {found}, this release reads up to {known}. Install "
        "a newer release of spacy-maral."
    )
    M206 = (
        "There is no initialised transformer in the pipeline (it has: {pipes}). Add a component "
        "'transformer' before maral_ner and call nlp.initialize()."
    )
    M207 = (
        "The label '{label}' cannot be added: '{name}' has its classes already ({labels}). Give all "
        "labels before nlp.initialize(), and train anew for further ones."
    )
    M208 = (
        'decision = "linear" reads the linear head, but loss = "{loss}" does not train it. Set '
        'loss = "cross_entropy", or decision = "likelihood".'
    )
    M209 = (
        "The gold entity '{text}' has the label '{label}', but the labels are: {labels}. Initialise "
        "with data or a label list that has this label, or convert the data with a label map."
    )
    M210 = (
        "Windows of max_words={max_words}, stride={stride} and max_chars={max_chars} are not "
        "possible: give max_words and max_chars of at least 1 and a stride from 1 to max_words."
    )
    M211 = (
        "{label!r} is no entity label: give a string that is not empty and not 'O', which stands for "
        "outside."
    )
    M212 = (
        "prior_scale must be at least 0, outside_weight and memory above 0, found "
        "prior_scale={prior_scale}, outside_weight={outside_weight} and memory={memory}. Change "
        "these settings of the component."
    )
    M213 = (
        "spans_threshold must be above 0 and at most 1 and needs a spans_key, found "
        "spans_threshold={threshold} with spans_key={key!r}. Change these settings of the component."
    )
    M214 = (
        "'{name}' found no labels: there is no entity in the examples and no label list. Initialise "
        "with labelled examples, or give labels (initialize.components.{name}.labels)."
    )
    M215 = "There is no {name} '{value}'. Choose one of: {known}."
    M216 = (
        "'{name}' is no name of a language: it goes into names of files and may have letters, digits, "
        "'_' and '-' only. Give a code such as 'de' or 'zh-Hans'."
    )
    M217 = (
        "The configuration {path} cannot be read: {problem}. Put the file right, or write a new one with "
        "'spacy maral init-config'."
    )
    M218 = (
        "The saved component cannot be read: {problem}. Its files or bytes are damaged, or are not those of "
        "a maral_ner; train or copy the pipeline again."
    )
    M222 = (
        "max_batch_pieces must be at least 1, found {found}. Change this setting of the transformer's "
        "model."
    )
    M223 = (
        "The listener {found} cannot be replaced by an encoder of spacy-maral.TransformerModel.v1. Let "
        "this component listen, or use spacy-transformers.TransformerModel.v3 in the transformer."
    )
    M224 = (
        "The saved encoder cannot be read: {problem}. The file 'model' of the transformer is damaged, or "
        "was written by another architecture than spacy-maral.TransformerModel.v1; train or copy the "
        "pipeline again."
    )
    M225 = (
        "The saved encoder has format version {found}, this release reads up to {known}. Install a newer "
        "release of spacy-maral."
    )
    M226 = (
        "threshold is a probability from 0 to 1, found {threshold}. Change this setting of the "
        "component; 0 writes all entities."
    )
    # end of M2xx

    # M3xx: training, configuration, checkpoints
    M301 = "The configuration has no section [{section}]. Add it; its keys are: {known}."
    M302 = "The configuration cannot be used:\n{problems}\nKnown keys: {known}."
    M303 = (
        "The {name} documents hold no words ({n_docs} documents). Check that the file was converted "
        "from the right input."
    )
    M304 = (
        "Document {doc} of {name} has the entity '{text}' with the label '{label}', but the labels "
        "are: {labels}. Convert the data with a label map, or train on data that has this label."
    )
    M305 = (
        "The pseudo-labels in {path} cannot be read: {problem}. Make them again with "
        "'spacy maral pseudo-label'."
    )
    M306 = (
        "The pseudo-labels in {path} were made for something else: their {what} is {found}, this run "
        "has {wanted}. Make them again with 'spacy maral pseudo-label' from this teacher and target."
    )
    M307 = (
        "All checkpoints in {folder} are damaged. Delete that folder and start the run again without "
        "--resume."
    )
    M308 = (
        "The checkpoint {path} has format version {found}, this release reads up to {known}. "
        "Install a newer release to go on."
    )
    M309 = (
        "freeze_layers is {wanted}, but the encoder has {n_layers} layers that can be told apart, and one "
        "must stay. Lower freeze_layers."
    )
    M310 = (
        "The loss is not finite in step {step} of epoch {epoch} ({docs}); {checkpoint}. Lower the "
        'learning rates or use precision = "float32", and start anew in another folder.'
    )
    M311 = (
        "The run in {folder} cannot be resumed, it was started with something else:\n  {changed}\n"
        "Put the settings and data back, or delete that folder to start anew."
    )
    M312 = "There is no entity in {path}. Convert labelled data without --unlabelled."
    M313 = (
        "There is no spaCy pipeline in {path} (no meta.json). Give the folder that was the output of "
        "'spacy maral train-teacher'."
    )
    M314 = (
        "The pipeline of {where} has no component '{component}' (it has: {pipes}). Add it, after a "
        "transformer."
    )
    M316 = (
        "There is an unfinished run in {folder}. Go on with --resume, or delete that folder to start "
        "anew."
    )
    M317 = (
        "The pseudo-labels are for spans of up to {teacher} words, the student has "
        "max_width = {student}. Train teacher and student with the same max_width, or make the labels "
        "with that --max-width."
    )
    M318 = (
        "The encoder {encoder} has no masked-language-model head (it was saved as: {architectures}). "
        "Set mlm_weight = 0, or take an encoder with a head, such as xlm-roberta-base."
    )
    M319 = (
        "The weights of the best epoch are missing ({path}). Delete that folder and start the run again "
        "without --resume."
    )
    M320 = (
        "The checkpoint {path} has the format version {found} of an earlier release, this release reads "
        "{known}. Finish the run with that release, or delete the folder to start anew."
    )
    M321 = (
        "The gradients are not finite in step {step} of epoch {epoch} ({docs}), though the loss is; "
        '{checkpoint}. Lower the learning rates or use precision = "float32", and start anew in '
        "another folder."
    )
    M322 = (
        "{path} cannot be written: {problem}. Free some space on the disk or put the permissions "
        "right, then go on with --resume; {checkpoint}."
    )
    M323 = (
        "The run in {folder} is finished, and was started with something else:\n  {changed}\n"
        "Put the settings and data back, give another output folder, or leave out --resume to train "
        "anew in this one."
    )
    M324 = (
        "There is a run at work in {folder} ({holder}). Wait until it has ended, or give another "
        "output folder."
    )
    M325 = (
        "The gradients overflow float16 however small the loss is scaled, in step {step} of epoch "
        '{epoch} ({docs}); {checkpoint}. Use precision = "bfloat16" or "float32", and start anew in '
        "another folder."
    )
    M326 = (
        "Process {rank} of this run lost another one, which has ended or cannot be reached: {problem}. "
        "See what that one said; then start the run again with --resume, also with another number of "
        "processes."
    )
    M327 = (
        "There are too few documents with words for {size} processes, each needs one at least. Start "
        "fewer with --nproc-per-node, or give more documents."
    )
    M330 = (
        "A teacher cannot be selected by '{select}': it sees no text of a target language. Set "
        'select = "source_dev" or "last" in the section [teacher].'
    )
    M331 = (
        "The diagnosis on {path} looks at gold labels of the target language. If you mean that, set "
        "diagnose_with_gold = true in the section [adaptation]; nothing in the run goes by it."
    )
    # several targets, any teacher
    M335 = (
        "There is neither a teacher nor a file of pseudo-labels. Give --teacher, the output of 'spacy maral "
        "train-teacher', or --labels, the output of 'spacy maral pseudo-label'."
    )
    M336 = (
        'init = "teacher" starts the student from the teacher, but none is given. Give --teacher, or set '
        'init = "encoder".'
    )
    M337 = (
        "{path} is raw text, and its language is not known. Give it as --lang, such as --lang de."
    )
    M338 = (
        "There are {n} {what} for {n_targets} targets. Give one for all of them, or one for each, in the "
        "same order."
    )
    M339 = (
        "The pseudo-labels in {path} and {other} do not fit together: their {what} is {found} and "
        "{wanted}. Make both with the same labels and width."
    )
    M340 = (
        "The labels of the model to be trained are not known: {annotator} can give any. Name them as "
        "--labels PER,LOC, or give the labelled source data as --source."
    )
    M341 = (
        "{annotator} found no entity of the labels {labels} in the target ({counts}). Check the "
        "annotator, the label map and the labels."
    )
    M342 = "The confidence {value} is not between 0.5 and 1. Give a number above 0.5 and at most 1."
    M343 = (
        "The score of the entity '{text}' is {found}, read from {place}. Name an attribute that holds a "
        "number from 0 to 1, or none to give all entities the same confidence."
    )
    M344 = (
        "The pipeline {annotator} leaves no spans in doc.spans['{key}']. Give the key that it writes to, "
        "or none for doc.ents."
    )
    M345 = (
        "The GPU {gpu_id} cannot be used: {problem}. Install PyTorch with CUDA and the extra 'cuda', see "
        "docs/gpu.md, or leave out --gpu-id to run on the CPU."
    )
    M346 = (
        "The encoder '{name}' cannot be loaded ({problem}). As paths.encoder give a folder with config.json, "
        "tokenizer.json and model.safetensors, or a name on the Hugging Face hub where it can be reached. "
        "A clone of spacy-maral makes the folder of one: python tools/build_encoder.py --name "
        "intfloat/multilingual-e5-small --out encoders/e5-small."
    )
    M347 = (
        "{path} cannot be read: {problem}. It is part of the cache of the training that is running. Start the "
        "training again with --resume: it makes what is missing."
    )
    # end of M3xx

    # M4xx: evaluation, command line, project
    M401 = (
        "Document {doc} has an entity with the label '{label}' at word {word}, but the labels are: "
        "{labels}. Give a label list that has this label, or convert the data with a label map."
    )
    M402 = (
        "{n} of {n_docs} documents of {path} have no entity annotation to compare with. Convert the "
        "labelled file, without --unlabelled."
    )
    M403 = (
        "The pipeline '{name}' cannot be loaded: {problem}. Give the folder of a trained pipeline or the name "
        "of an installed one."
    )
    M404 = (
        "There are no metrics in {folder}. Write them there with 'spacy maral evaluate MODEL DATA -o "
        "{folder}/teacher-de-test.json', and student-de-test.json for the student."
    )
    M405 = "{path} holds no metrics: {problem}. Write it again with 'spacy maral evaluate -o'."
    M406 = (
        "{path} cannot be written: {problem}. Check the folder, its permissions and the free space."
    )
    M420 = "The benchmark {path} cannot be read: {problem}. Write a YAML file like configs/benchmark.yml."
    M421 = "The benchmark {path} cannot be used:\n{problems}\nKnown keys: {known}."
    M422 = (
        "The benchmark {path} is of the configuration {config}, which does not exist. Put its path "
        "under the key 'config', relative to the benchmark's file."
    )
    M423 = "The benchmark {path} cannot be used: {place}: {problem} Put this key right."
    M424 = "The benchmark has no variant, pair or seed '{name}'. Choose from: {known}."
    M425 = (
        "The benchmark needs files that are not there: {paths}. Put them there, or give the folder "
        "with --data in which they are named {pattern}."
    )
    M426 = (
        "'spacy maral {command}' failed with exit code {code}. The end of {log}:\n{tail}\nPut that "
        "right and run the benchmark again; what is finished is kept."
    )
    M427 = (
        "{path} cannot be read: {problem}. Delete the folder that it is in and run the benchmark "
        "again."
    )
    M440 = (
        "{folder} holds no training run: there is no training/log.jsonl in it. Give the folder that was the "
        "output of 'spacy maral adapt' or 'spacy maral train-teacher', after its first epoch."
    )
    M441 = (
        "{path} cannot be read: {problem}. The file is damaged or was not written by a training run; run "
        "the training again, or take the file away to get a report without it."
    )
    M442 = (
        "{path} has format version {found}, this release reads up to {known}. Install a newer release of "
        "spacy-maral."
    )
    M407 = (
        "The Python file {path} cannot be imported: {problem}. It is what --code names; put it right "
        "or leave the option out."
    )
    M408 = "There is no size '{size}' of a configuration. Choose one of: {known}."
    M409 = "{path} exists. Give another file, or --force (-F) to write over it."
    M410 = (
        "{path} is no list of sources: {problem}. Write a JSON or YAML file with a list of objects such "
        'as {{"name": "WikiAnn", "url": "https://…", "author": "…", "license": "…"}}; all values are '
        "strings, and a name is needed."
    )
    M411 = (
        "{path} is no trained pipeline to write a card for: {problem}. Give the folder that was the "
        "output of 'spacy maral adapt' or 'train-teacher'."
    )
    M460 = (
        "The logger spacy-maral.TensorBoardLogger.v1 needs TensorBoard ({problem}). Install it with "
        "'pip install tensorboard'."
    )
    M461 = "The vocabulary of this pipeline's encoder cannot be trimmed: {problem}."
    M462 = (
        "The encoder has vectors of {rows:,} word pieces, and the language model head of '{encoder}' scores "
        "{scores:,}: it was trimmed. Set mlm_weight to 0, or start from the encoder (adaptation.init)."
    )
    M463 = (
        "The encoder is kept in {weights} numbers, for inference, and cannot be trained. Train the pipeline "
        "that it was made from, and optimise the result."
    )
    M464 = (
        "The pipeline has no transformer of the architecture spacy-maral.TransformerModel.v1, found: "
        "{found}. Give a pipeline that was trained with the configurations of this package."
    )
    M465 = (
        "The address {address} cannot be opened: {problem}. Install the package that knows such addresses "
        "(s3fs for s3://, gcsfs for gs://, adlfs for abfs://), see to its credentials, or copy the files "
        "here."
    )
    M466 = "{address} does not exist. Check the path or address of the corpus."
    M467 = "{address} holds no file of a corpus. Files are known by their endings: {known}."
    M468 = "{address} has no ending of a file of a corpus. Known are: {known}."
    M469 = (
        "{address} and {other} would both become '{name}' in the output folder. Give the folder above "
        "them as the input, or annotate them to different folders."
    )
    M470 = (
        "The output folder {output} and the input {address} overlap, so that one would be taken for the "
        "other. Give an output folder of its own."
    )
    M471 = (
        "{what} needs a package that is not installed ({problem}). Install it with "
        "'pip install \"spacy-maral[{extra}]\"'."
    )
    M472 = "{address} has no column '{field}' of texts. It has: {found}. Name the column with --text-field."
    M473 = "{place}: the id is {found}: give text or a number, or name another key with --id-field."
    M474 = (
        "The run in {output} was started with something else:\n  {changed}\nGive a new output folder, or "
        "start as before."
    )
    M475 = (
        "{n} of {shards} shards failed, {done} are done:\n  {failures}\nThe same command does those again "
        "that are not done."
    )
    M476 = (
        "The model failed on {n} documents in a row; on '{id}', the last, with {problem}. If the documents "
        "are at fault, raise --give-up and they are set aside."
    )
    M477 = (
        "'{name}' is no folder of a pipeline (it has no meta.json) and no installed one. Give the output of "
        "train-teacher or adapt, or the name of an installed pipeline."
    )
    M478 = (
        "'{name}' is {found} where this worker is, and {wanted} where the run was started. All machines need "
        "the same model, at the same path or installed."
    )
    M479 = (
        "Ray cannot be started or reached ({problem}). Check --address, and that all machines have the same "
        "releases of Python and Ray."
    )
    M480 = (
        "A Ray worker failed: {problem} All machines need spacy-maral, the model and the files "
        "at the paths given."
    )
    M481 = "{name} must be {rule}, found {value}. Change this setting."
    M482 = "{address} cannot be read: {problem}. Replace the file, and start again."
    M483 = (
        "{shard}: {times} workers died over it, one after the other, and could not say why (often for want "
        "of memory). Lower --batch-words, give workers more memory, or divide the shard."
    )
    M484 = "{shard}: Ray lost it (see Ray's own messages, with --verbose). Start again."
    # end of M4xx


class Warnings(metaclass=CodedMessages):
    # W0xx: spans, vMF, losses, span model
    # end of W0xx

    # W1xx: data
    W101 = (
        "{path}: tags follow neither IOB1 nor IOB2: {inside} entities begin with I- (the first in line "
        "{line}), and {begin} with B- where IOB1 has I-. All are read as entities; check the file."
    )
    W102 = "{path}: the language asked for is '{lang}', but the file says '{found}'."
    # end of W1xx

    # W2xx: architectures and pipeline
    W201 = (
        "'{name}': of the gold entities in this batch, {n_unaligned} do not end where words of the "
        "tokenised text end (left out of the loss) and {n_too_wide} are longer than max_width = "
        "{max_width} words (they have no candidate). This is said once; further ones are treated "
        "alike."
    )
    W205 = (
        "The encoder was saved with other tensors ({names}), perhaps by another release of transformers. "
        "Compare its predictions with those it was saved with, and train again if they differ."
    )
    # end of W2xx

    # W3xx: training, configuration, checkpoints
    W301 = "The checkpoint {path} is damaged ({problem}); the one before it is used."
    W302 = (
        "{n:,} gold entities of the source ({share:.1f} %) are longer than max_width = {max_width} words "
        "and cannot be found: {by_type}. A larger max_width finds them and costs time; 'spacy maral "
        "stats' says how long entities are."
    )
    W303 = (
        "What the frozen layers give takes {needed:.1f} GiB on the disk, more than frozen_cache = {limit} GiB: "
        "it is computed anew every time. With a larger frozen_cache training is faster."
    )
    W304 = "The run in {folder} is finished, with the same settings and data: there is nothing left to do."
    W305 = (
        "Stopping: the run saves its state after this step, or when the end of the epoch is dealt with. "
        "Ask again to stop at once and go back to the last checkpoint."
    )
    W306 = (
        "The run was stopped {when}. Everything is saved in {path}: go on with the same command and "
        "--resume."
    )
    W335 = (
        "{annotator}: {n} of {n_all} entities do not become labels of their own: {counts}. Their words are "
        "labelled as outside."
    )
    # end of W3xx

    # W4xx: evaluation, command line, project
    W450 = (
        "F1 on the test data changes by {change} points, more than {most} are lost. Give 'trim-vocab' more "
        "text, or keep the pipeline as it was."
    )
    W452 = "This processor does not compute in bfloat16: here the new pipeline is as fast as the old one."
    W451 = "There are no test data: what the pipeline lost is not known. Give labelled data with --test."
    W465 = "{n} shards have changed since they were annotated, and are annotated again: {shards}."
    W466 = "Stopped: {done} of {shards} shards are done. The same command goes on with the others."
    W467 = "Stopped. The same command goes on with the run that was at work, and with the others."
    # end of W4xx
