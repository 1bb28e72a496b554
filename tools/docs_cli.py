"""Write the page of the command line from the Typer app: see build_docs.py."""

from __future__ import annotations

import copy
import inspect
import re
import typing
from collections.abc import Iterator
from enum import Enum
from typing import Any, NamedTuple

from docs_text import COMMAND, NOTE, first_sentence, plain, table, type_name
from typer.core import TyperGroup
from typer.main import get_command
from typer.models import ArgumentInfo, CommandInfo

from spacy_maral.cli import app


class Parameter(NamedTuple):
    """An argument or option of a command."""

    names: list[str]
    info: Any
    hint: Any
    default: Any

    @property
    def positional(self) -> bool:
        return isinstance(self.info, ArgumentInfo)

    @property
    def required(self) -> bool:
        return self.info.default is ...

    @property
    def repeated(self) -> bool:
        return typing.get_origin(self.hint) is list

    def usage(self) -> str:
        if self.positional:
            word = self.names[0].upper()
        else:
            # of an option that is on by itself, the name that turns it off
            word = self.names[0].split("/")[-1 if self.default is True else 0]
        if not self.positional and self.hint is not bool:
            word += f" {self.names[0].lstrip('-').upper().replace('-', '_')}"
        word += " …" if self.repeated and self.positional else ""
        return word if self.required else f"[{word}]"

    def row(self) -> list[str]:
        # --on/--off, -o/-O: each name by itself
        names = [part for name in self.names for part in name.split("/")]
        kind = type_name(typing.get_args(self.hint)[0] if self.repeated else self.hint)
        if self.info.min is not None:
            kind += f" from {self.info.min}"
        kind += ", repeated" if self.repeated else ""
        value = self.default.value if isinstance(self.default, Enum) else self.default
        default = "" if value in (None, [], "", False) else f"`{value}`"
        if self.repeated and value and not self.required:
            default = ", ".join(f"`{item}`" for item in value)
        default = "required" if self.required else default
        return [", ".join(f"`{n}`" for n in names), kind, default, plain(self.info.help or "")]


def parameters(command: CommandInfo) -> Iterator[Parameter]:
    """The arguments and options of a command, as its function declares them."""
    assert command.callback is not None
    hints = typing.get_type_hints(command.callback)
    for name, parameter in inspect.signature(command.callback).parameters.items():
        info = parameter.default
        if info is inspect.Parameter.empty:
            continue
        names = list(info.param_decls or [])
        if isinstance(info, ArgumentInfo) or not names:
            names = [name]
        optional = [arg for arg in typing.get_args(hints[name]) if arg is not type(None)]
        hint = optional[0] if type(None) in typing.get_args(hints[name]) else hints[name]
        yield Parameter(names, info, hint, info.default)


def commands() -> list[CommandInfo]:
    """The commands in the order of the help."""
    group = typing.cast(TyperGroup, get_command(app))
    order = group.list_commands(typing.cast(Any, None))
    found = [*app.registered_commands]
    for inner in app.registered_groups:
        assert inner.typer_instance is not None
        for command in inner.typer_instance.registered_commands:
            named = copy.copy(command)
            named.name = f"{inner.typer_instance.info.name} {command.name}"
            found.append(named)
    return sorted(found, key=lambda command: order.index((command.name or "").split()[0]))


def write_cli() -> str:
    """The commands with their arguments."""
    found = commands()
    lines = [
        NOTE, "# Command line", "",
        f"`{COMMAND} COMMAND`, in the order in which the commands are used. `--help` says the same.", "",
        table(
            ["Command", "What it does"],
            [[f"[`{c.name}`](#{(c.name or '').replace(' ', '-')})", plain(first_sentence(c.callback))] for c in found],
        ), "",
        "Exit status: 0 if all went well, 1 after an error that the command names (with a code, see",
        "[errors](errors.md)), 2 for a command line that cannot be read, 130 after Ctrl-C.", "",
    ]  # fmt: skip
    for command in found:
        accepted = list(parameters(command))
        usage = " ".join(p.usage() for p in accepted)
        free = (command.context_settings or {}).get("allow_extra_args")
        lines += [
            f"## {command.name}",
            "",
            re.sub(r"\s+", " ", inspect.getdoc(command.callback) or ""),
            "",
        ]
        if free:
            usage += " [--section.key VALUE …]"
        lines += ["```text", *wrap(f"{COMMAND} {command.name} {usage}"), "```", ""]
        lines += [table(["Name", "Type", "Default", "Description"], [p.row() for p in accepted])]
        if free:
            lines += [
                "",
                "Settings of the configuration are replaced as `--section.key VALUE`, see",
            ]
            lines += ["[configuration](config.md)."]
        lines += [""]
    return "\n".join(lines)


def wrap(text: str, width: int = 96) -> list[str]:
    """Break a usage between options."""
    lines = [""]
    for part in re.findall(r"\[[^\]]*\]|--\S+ [A-Z_]+|\S+", text):
        if len(lines[-1]) + len(part) > width:
            lines.append("   ")
        lines[-1] += (" " if lines[-1] else "") + part
    return [line.rstrip() for line in lines]
