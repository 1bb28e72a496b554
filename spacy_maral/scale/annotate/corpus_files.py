"""The files of a corpus, and the addresses of the outputs of each."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from glob import has_magic
from typing import NamedTuple

from ...errors import Errors, MaralError
from .storage import FileInfo, absolute, fixed_part, is_folder, join, list_files

TXT, JSONL, PARQUET = ".txt", ".jsonl", ".parquet"
ENDINGS = (TXT, f"{TXT}.gz", JSONL, f"{JSONL}.gz", PARQUET)
FORMATS = {"jsonl": JSONL, "jsonl.gz": f"{JSONL}.gz", "parquet": PARQUET}

HIDDEN = ("_", ".")
"""First characters of names that readers of data sets skip."""
RUN, BEGUN, REJECTED = "_run", "begun", "_rejected"


class Shard(NamedTuple):
    """A file of the corpus.

    name (str): Name of its outputs, with slashes and without ending.
    address (str): Address of the file.
    size (int): Bytes.
    version (str): Changes when the file is written anew.
    """

    name: str
    address: str
    size: int
    version: str


class Places(NamedTuple):
    """Addresses of a shard's outputs.

    output (str): Its documents.
    rejected (str): Its documents that were set aside.
    done (str): The record that it is done.
    begun (str): The record of how often it was begun.
    """

    output: str
    rejected: str
    done: str = ""
    begun: str = ""


def places(output: str, name: str, ending: str) -> Places:
    """Find the addresses of a shard's outputs.

    output (str): The output folder.
    name (str): The shard's name.
    ending (str): Ending of the output's name.
    RETURNS (Places): The addresses.
    """
    return Places(
        join(output, name + ending),
        join(output, REJECTED, f"{name}{JSONL}"),
        join(output, RUN, "shards", f"{name}.json"),
        join(output, RUN, BEGUN, f"{name}.json"),
    )


def find_shards(inputs: Iterable[str], output: str) -> list[Shard]:
    """Find the files of a corpus.

    inputs (Iterable[str]): Files, folders (for all files below them that have a known ending and are
        not hidden) and patterns.
    output (str): The output folder, which must hold none of them.
    RETURNS (list[Shard]): The shards in the order of the inputs, those of a folder by name.
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
    pattern = given.removeprefix(fixed_part(given))
    if not files and not has_magic(pattern) and not is_folder(given):
        raise MaralError(Errors.M466.format(address=given))
    found = [_shard(file, fixed_part(given)) for file in files]
    shards = [s for s in found if s and not any(p.startswith(HIDDEN) for p in s.name.split("/"))]
    if not shards:
        raise MaralError(Errors.M467.format(address=given, known=known))
    return shards


def _shard(file: FileInfo, base: str) -> Shard | None:
    """A file as a shard, None if its ending is unknown."""
    ending = ending_of(file.address)
    if not ending:
        return None
    name = file.address.removeprefix(join(base, "")).removesuffix(ending)
    # names need not be UTF-8, ids must be
    return Shard(os.fsencode(name).decode("utf8", "backslashreplace"), *file)


def ending_of(address: str) -> str:
    """The known ending of an address as it is written there, in small letters or not; "" if there is none."""
    plain = address.lower()
    size = max((len(ending) for ending in ENDINGS if plain.endswith(ending)), default=0)
    return address[len(address) - size :]


def kind_of(address: str) -> str:
    """The ending of a shard's address, without .gz and in small letters."""
    plain = address.lower().removesuffix(".gz")
    return next(ending for ending in (TXT, JSONL, PARQUET) if plain.endswith(ending))
