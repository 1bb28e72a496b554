"""The files of a corpus, and where what is made of each of them goes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ...errors import Errors, MaralError
from .storage import (
    FileInfo,
    absolute,
    exists,
    fixed_part,
    has_magic,
    is_remote,
    join,
    list_files,
    local_path,
)

TXT, JSONL, PARQUET = ".txt", ".jsonl", ".parquet"
ENDINGS = (TXT, f"{TXT}.gz", JSONL, f"{JSONL}.gz", PARQUET)
FORMATS = {"jsonl": JSONL, "jsonl.gz": f"{JSONL}.gz", "parquet": PARQUET}

# Readers of data sets pass over names that begin so.
HIDDEN = ("_", ".")
RUN, BEGUN, REJECTED = "_run", "begun", "_rejected"


class Shard(NamedTuple):
    """A file of the corpus.

    name: What its outputs are called, with slashes and without ending. address: Where it is.
    size: Bytes. version: What changes when it is written anew.
    """

    name: str
    address: str
    size: int
    version: str


class Places(NamedTuple):
    """Where a shard's outputs go.

    output: Its documents. rejected: Those that were set aside. done: Says that it is done. begun:
    Says how often it was begun.
    """

    output: str
    rejected: str
    done: str = ""
    begun: str = ""


def places(output: str, name: str, ending: str) -> Places:
    """Where the outputs of a shard go.

    output (str): The output folder.
    name (str): The shard's name.
    ending (str): Ending of the output's name.
    RETURNS (Places): Addresses.
    """
    return Places(
        join(output, name + ending),
        join(output, REJECTED, f"{name}{JSONL}"),
        join(output, RUN, "shards", f"{name}.json"),
        join(output, RUN, BEGUN, f"{name}.json"),
    )


def find_shards(inputs: Iterable[str], output: str) -> list[Shard]:
    """Find the files of a corpus.

    inputs (Iterable[str]): Files, folders (all files of known endings below them, without hidden
        ones) and patterns.
    output (str): The output folder, which must hold none of them.
    RETURNS (list[Shard]): In the order of the inputs, those of a folder by name.
    RAISES (MaralError): If there is nothing to read, two shards have one name, or the output folder
        and the inputs overlap.
    """
    shards: dict[str, Shard] = {}
    home = join(absolute(output), "")
    for given in map(absolute, inputs):
        if home.startswith(join(given, "")):
            raise MaralError(Errors.M470.format(output=output, address=given))
        for shard in _find(given):
            if shard.address.startswith(home):
                raise MaralError(Errors.M470.format(output=output, address=shard.address))
            other = shards.setdefault(shard.name, shard)
            if other.address != shard.address:
                names = {"address": shard.address, "other": other.address, "name": shard.name}
                raise MaralError(Errors.M469.format(**names))
    return list(shards.values())


def _find(given: str) -> Sequence[Shard]:
    """The shards of one input."""
    files = list_files(given)
    known = ", ".join(ENDINGS)
    if [file.address for file in files] == [given]:
        shard = _shard(files[0], given.rpartition("/")[0])
        if shard is None:
            raise MaralError(Errors.M468.format(address=given, known=known))
        return [shard]
    if not files and not has_magic(given) and not _is_folder(given):
        raise MaralError(Errors.M466.format(address=given))
    found = [_shard(file, fixed_part(given)) for file in files]
    shards = [s for s in found if s and not any(p.startswith(HIDDEN) for p in s.name.split("/"))]
    if not shards:
        raise MaralError(Errors.M467.format(address=given, known=known))
    return shards


def _is_folder(address: str) -> bool:
    return exists(address) if is_remote(address) else local_path(address).is_dir()


def _shard(file: FileInfo, base: str) -> Shard | None:
    """A file as a shard, None if its ending is not known."""
    ending = max((e for e in ENDINGS if file.address.endswith(e)), key=len, default=None)
    if ending is None:
        return None
    name = file.address.removeprefix(join(base, "")).removesuffix(ending)
    return Shard(name, file.address, file.size, file.version)


def kind_of(address: str) -> str:
    """The ending of a shard's address, without .gz."""
    plain = address.removesuffix(".gz")
    return next(ending for ending in (TXT, JSONL, PARQUET) if plain.endswith(ending))
