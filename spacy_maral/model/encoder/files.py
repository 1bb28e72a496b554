"""Write an encoder's tensors, tokenizer and configuration as bytes, and rebuild the encoder."""

from __future__ import annotations

import json
import re
import shutil
import struct
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from textwrap import shorten
from typing import Any

import srsly
import torch
from safetensors import SafetensorError
from thinc.api import get_torch_default_device
from transformers import MODEL_MAPPING, AutoConfig, AutoModel, AutoTokenizer, PretrainedConfig
from transformers.utils import logging as hf_logging

from ...errors import Errors, MaralError, Warnings, first_line
from .mapped import digest_view, read_tensors
from .releases import DTYPE, InvalidConfig, no_init_weights
from .weights import inference_dtype, prepare_inference

# PLACE marks the position in a message of bytes that are written separately; COPIED is the number
# of bytes that are copied at once
MESSAGE = 200
HUB_NAME = re.compile(r"(\w[\w.-]*/)?\w[\w.-]*")
PLACE = b"spacy-maral: bytes that are written apart"
COPIED = 1 << 24
# what transformers 5 calls PreTrainedTokenizerFast; releases before it know the latter only
NEW_CLASS = "TokenizersBackend"
# transformers would otherwise ask whether to run the Python code of an encoder's folder
NO_CODE = {"trust_remote_code": False}


@dataclass
class EncoderObjects:
    """An encoder and its tokenizer, or what they will be loaded with.

    tokenizer (PreTrainedTokenizerBase): The tokenizer; None before it is loaded.
    encoder (nn.Module): The encoder; None before it is loaded.
    vocabulary (bytes): Contents of the file that the tokenizer names as its vocabulary, if any.
    tokenizer_config, encoder_config (dict): Settings for loading.
    """

    tokenizer: Any = None
    encoder: Any = None
    vocabulary: bytes | None = None
    tokenizer_config: dict[str, Any] = field(default_factory=dict)
    encoder_config: dict[str, Any] = field(default_factory=dict)


def write_nested(path: Path, outer: bytes, inner: bytes, innermost: Path) -> None:
    """Write a MessagePack message that holds a second message, which holds the contents of a file.

    path (Path): File to write. A file in its place is replaced at once, so that who has mapped it into
        memory keeps what was there.
    outer, inner (bytes): The messages, each with PLACE at the position of its content.
    innermost (Path): File whose contents the inner message holds, in a folder for temporary files of
        the same file system.
    """
    before, after = _around(inner)
    size = innermost.stat().st_size
    head = before + _bytes_header(size)
    start, end = _around(outer)
    whole = innermost.with_name("whole")
    with whole.open("wb") as file, innermost.open("rb") as content:
        file.write(start + _bytes_header(len(head) + size + len(after)) + head)
        shutil.copyfileobj(content, file, COPIED)
        file.write(after + end)
    whole.replace(path)


def bytes_start(message: bytes) -> int:
    """Where the content that PLACE stands for starts, if it has at least 64 KiB."""
    return len(_around(message)[0]) + len(_bytes_header(1 << 16))


def _around(message: bytes) -> tuple[bytes, bytes]:
    """The parts of a message before and after PLACE."""
    before, _, after = message.partition(srsly.msgpack_dumps(PLACE))
    return before, after


def _bytes_header(size: int) -> bytes:
    """The MessagePack header of a byte string of this size."""
    if size < 1 << 8:
        return struct.pack(">BB", 0xC4, size)
    if size < 1 << 16:
        return struct.pack(">BH", 0xC5, size)
    return struct.pack(">BI", 0xC6, size)


def tokenizer_files(objects: EncoderObjects) -> dict[str, bytes]:
    """Contents of a tokenizer's files by name."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = objects.tokenizer
        if objects.vocabulary is not None:
            # the file that the tokenizer was loaded from may be gone
            vocabulary = Path(folder) / tokenizer.vocab_files_names["vocab_file"]
            vocabulary.write_bytes(objects.vocabulary)
            tokenizer.vocab_file = str(vocabulary)
        forget_last_call(tokenizer)
        tokenizer.save_pretrained(folder)
        files = {p.name: p.read_bytes() for p in sorted(Path(folder).iterdir()) if p.is_file()}
    settings = json.loads(files["tokenizer_config.json"])
    if settings.get("tokenizer_class") == NEW_CLASS:
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
        files["tokenizer_config.json"] = json.dumps(settings, indent=2).encode()
    return files


def forget_last_call(tokenizer: Any) -> None:
    """Let a tokenizer be saved as it was loaded, whatever it was called with, and whether or not."""
    if tokenizer.is_fast:
        tokenizer.backend_tokenizer.no_padding()
        tokenizer.backend_tokenizer.no_truncation()


def _with_eps(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration whose rounding to 0 by release 0.1 is undone, with a warning."""
    defaults = AutoConfig.for_model(config["model_type"]).to_dict()
    lost = {n for n, v in config.items() if "_eps" in n and v == 0 and defaults.get(n)}
    for name in sorted(lost):
        warnings.warn(Warnings.W209.format(name=name, value=defaults[name]), stacklevel=2)
    return {n: defaults[n] if n in lost else v for n, v in config.items()}


def apart(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copy tensors that share memory, since safetensors cannot store shared memory."""
    seen: set[int] = set()
    found = {}
    for name, tensor in tensors.items():
        found[name] = tensor.clone() if tensor.data_ptr() in seen else tensor
        seen.add(tensor.data_ptr())
    return found


@contextmanager
def loading_encoder(name: str) -> Iterator[None]:
    """Turn the errors of a pretrained encoder that cannot be loaded into one.

    transformers 5 shows a bar for the loading of weights, which is left for what is fetched.

    name (str): Name or folder of the encoder.
    RAISES (MaralError): If loading fails, or needs Python code of the encoder's folder.
    """
    is_quiet = Path(name).is_dir() and hf_logging.is_progress_bar_enabled()
    if is_quiet:
        hf_logging.disable_progress_bar()
    try:
        yield
    except MaralError:
        raise
    except (OSError, ValueError, KeyError, ImportError, SafetensorError, InvalidConfig) as error:
        if "trust_remote_code" in str(error):
            raise MaralError(Errors.M230.format(path=_asking_file(Path(name)))) from error
        # some messages list the classes of all families
        problem = shorten(first_line(error), MESSAGE, placeholder=" …")
        raise MaralError(Errors.M346.format(name=name, problem=problem)) from error
    finally:
        if is_quiet:
            hf_logging.enable_progress_bar()


def _asking_file(folder: Path) -> Path:
    """The file of an encoder that names Python code; the encoder itself if it is on a hub."""
    files = (folder / "config.json", folder / "tokenizer_config.json")
    return next((p for p in files if p.is_file() and b'"auto_map"' in p.read_bytes()), folder)


def read_encoder_config(name: str | Path, **settings: Any) -> PretrainedConfig:
    """Read the configuration of an encoder, unless it names code to be fetched from a hub.

    Releases of transformers before 5.3 take the name of an attention kernel, such as "ORG/NAME:FUNCTION",
    from the file, and fetch and run it if the package kernels is installed.

    name (str | Path): Name or folder of the encoder.
    settings: Further settings; an attention kernel that they name is the user's own choice.
    RETURNS (PretrainedConfig): The configuration.
    RAISES (MaralError): If the file names a kernel.
    """
    config = AutoConfig.from_pretrained(name, **settings)
    wanted = settings.get("attn_implementation")
    for part in (config, *(getattr(config, key, None) for key in config.sub_configs)):
        found = getattr(part, "_attn_implementation_internal", None)
        for kernel in found.values() if isinstance(found, dict) else [found]:
            if kernel != wanted and "/" in str(kernel):
                raise MaralError(Errors.M593.format(name=name, kernel=kernel))
    return config


def load_pretrained(
    name: str, tokenizer_config: dict[str, Any], transformer_config: dict[str, Any]
) -> EncoderObjects:
    """Load a pretrained encoder and its tokenizer.

    name (str): Name or folder of the encoder.
    tokenizer_config (dict): Settings of the tokenizer.
    transformer_config (dict): Settings of the encoder.
    RETURNS (EncoderObjects): Tokenizer and encoder; the encoder is on its device.
    RAISES (MaralError): If the encoder does not exist, its files cannot be read, or it needs Python
        code and the settings do not trust it.
    """
    settings = {**NO_CODE, **transformer_config, "return_dict": True}
    trust = {"trust_remote_code": settings["trust_remote_code"]}
    if trust != NO_CODE or tokenizer_config.get("trust_remote_code"):
        warnings.warn(Warnings.W210.format(name=name), stacklevel=2)
    with loading_encoder(name):
        tokenizer = AutoTokenizer.from_pretrained(name, **{**NO_CODE, **tokenizer_config})
        # tokenizers of one tokenizer.json have no other file
        vocabulary = getattr(tokenizer, "vocab_file", None)
        contents = Path(vocabulary).read_bytes() if vocabulary else None
        config = read_encoder_config(name, **settings)
        encoder = AutoModel.from_pretrained(name, config=config, **trust)
    encoder.to(get_torch_default_device())
    return EncoderObjects(tokenizer, encoder, contents)


def check_encoder(name: str) -> PretrainedConfig | None:
    """Refuse a folder that holds no encoder, before anything is made with it.

    name (str): Folder of the encoder, or its name on the Hugging Face hub.
    RETURNS (PretrainedConfig | None): Its configuration; None for a name, which is not looked up.
    RAISES (MaralError): If the folder does not exist or lacks a file, or its files cannot be read.
    """
    folder = Path(name)
    if not folder.is_dir():
        if folder.exists() or not HUB_NAME.fullmatch(name):
            raise MaralError(Errors.M346.format(name=name, problem="there is no such folder"))
        return None
    with loading_encoder(name):
        settings = {"local_files_only": True, "trust_remote_code": False}
        config = read_encoder_config(name, **settings)
        AutoTokenizer.from_pretrained(name, **settings)
        if config.is_encoder_decoder:
            raise ValueError(f"{config.model_type} is not only an encoder, but also a decoder")
        if not any(
            any(folder.glob(weights)) for weights in ("*.safetensors", "pytorch_model*.bin")
        ):
            raise ValueError("it has no weights, such as model.safetensors")
    return config


def digest_file(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    sha = sha256()
    with path.open("rb") as file:
        while block := file.read(COPIED):
            sha.update(block)
    return sha.hexdigest()


def message_digest(message: dict[str, Any], state: str) -> str:
    """SHA-256 of the message of `EncoderShim.message`; `state` is that of the tensors' bytes."""
    rest = {name: part for name, part in message.items() if name not in ("state", "sha256")}
    return sha256(srsly.msgpack_dumps([rest, state])).hexdigest()


def load_objects(message: dict[str, Any], weights: str) -> EncoderObjects:
    """Encoder and tokenizer from `EncoderShim.to_bytes`'s message, the encoder on its device.

    RAISES (ValueError): If the message does not have its checksum, which those of 0.1 lack.
    """
    if "config" not in message:
        return EncoderObjects(
            tokenizer_config=message["tokenizer_config"],
            encoder_config=message["transformer_config"],
        )
    # the files of the tokenizer may be large
    message["tokenizer"] = {name: bytes(part) for name, part in message["tokenizer"].items()}
    state = memoryview(message["state"])
    found = message_digest(message, digest_view(state))
    if message.get("sha256", found) != found:
        raise ValueError("it does not have its checksum")
    tensors = read_tensors(state)
    return make_objects(
        message["config"], message["tokenizer"], tensors, weights, use_fast=message["use_fast"]
    )


def make_objects(
    config: dict[str, Any],
    files: dict[str, bytes],
    tensors: dict[str, torch.Tensor],
    weights: str,
    *,
    use_fast: bool = True,
) -> EncoderObjects:
    """Encoder and tokenizer from their parts.

    config (dict): The encoder's configuration.
    files (dict): Contents of the tokenizer's files by name.
    tensors (dict): The encoder's tensors, as `stored_tensors` returns them.
    weights (str): Number format of the saved weights (see `build_transformer`).
    use_fast (bool): Whether the tokenizer is a fast one.
    RETURNS (EncoderObjects): Tokenizer and encoder; the encoder is on its device.
    RAISES (MaralError): If parts are missing or do not fit together.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # srsly would round small numbers, such as BERT's layer_norm_eps, to 0
        (folder / "config.json").write_text(json.dumps(_with_eps(config)), encoding="utf8")
        for file, content in files.items():
            # the names are read from a file: they must not lead out of the folder
            if file in ("", ".", "..") or Path(file).name != file or "\\" in file:
                raise MaralError(Errors.M224.format(problem=f"it has a file named {file!r}"))
            (folder / file).write_bytes(content)
        local = {**NO_CODE, "local_files_only": True}
        settings = read_encoder_config(folder, **local)
        tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=use_fast, **local)
        vocabulary = getattr(tokenizer, "vocab_file", None)
        contents = Path(vocabulary).read_bytes() if vocabulary else None
    # every weight is replaced below: skip the random initialisation
    with no_init_weights():
        encoder = _empty_encoder(settings)
    dtype = inference_dtype(weights, get_torch_default_device())
    whole = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }
    missing, unknown = encoder.load_state_dict(whole, strict=False, assign=True)
    if missing or unknown:
        # releases of transformers differ in the buffers that they compute themselves
        names = ", ".join([*missing, *unknown][:5])
        if any(n in dict(encoder.named_parameters()) for n in missing):
            raise MaralError(Errors.M224.format(problem=f"tensors are missing: {names}"))
        warnings.warn(Warnings.W205.format(names=names), stacklevel=2)
    encoder.to(get_torch_default_device())
    prepare_inference(encoder, weights)
    return EncoderObjects(tokenizer, encoder, contents)


def _empty_encoder(settings: PretrainedConfig) -> torch.nn.Module:
    """An encoder of a configuration, in float32."""
    # AutoModel would import the configurations of all families to look for this one
    found = MODEL_MAPPING.get(type(settings), None)
    if isinstance(found, type):
        return found(settings)
    return AutoModel.from_config(settings, **{DTYPE: torch.float32})
