"""Changes one key in YAML text and not a byte beside it. Pure: text in, text out.

Comments, key order, quoting and `${NAME}` stay as they were written; a dump by the YAML library would wrap lines and
move comments. Raises ConfigError for what cannot be changed this way: aliases in lists, blocks of text.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from shared.errors import ConfigError

# Any in this module: what a YAML file can hold
BOM = "\ufeff"
Path = tuple[str | int, ...]  # keys and indices that lead to a value


def is_block_mapping(text: str, path: Path, name: str) -> bool:
    """Return whether the key of the mapping at `path` has a mapping of its own, which can be changed key by key."""
    found = _pair(_find(text, path), name)
    return found is not None and _is_own(*found) and isinstance(found[1], MappingNode)


def set_value(text: str, path: Path, name: str, value: Any) -> str:
    """Set, add or (None) remove one key of the mapping at `path`."""
    node = _find(text, path)
    found = _pair(node, name)
    if found is None:
        return text if value is None else _add(text, node, name, value)
    if value is None:
        return _remove(text, node, name)
    key, old = found
    if not _is_own(key, old):  # an alias: *name stands there
        alias = re.compile(r"\s*:\s*(\*[^\s,\]}]+)").match(text, key.end_mark.index)
        return text if alias is None else text[: alias.start(1)] + _flow(value) + text[alias.end(1) :]
    if isinstance(old, SequenceNode) and isinstance(value, list | tuple) and old.value and value:
        if not old.flow_style:
            return _set_block_list(text, old, value)
        if "#" in _without_texts(text, old):
            raise ConfigError(
                f"{name}: the list has comments between its brackets; write it with one '- ' line an item"
            )
        return _splice(text, old, f"[{', '.join(_items(text, old, value))}]")
    if isinstance(old, SequenceNode | MappingNode) and not old.flow_style:
        return _add(_remove(text, node, name), _find_after(text, path, name), name, value)
    if isinstance(old, ScalarNode) and old.style in ("|", ">"):
        raise ConfigError(f"{name}: is written as a block of text; change it in the file")
    return _splice(text, old, _flow(value, old.style if isinstance(old, ScalarNode) else None))


def _find_after(text: str, path: Path, name: str) -> MappingNode:
    return _find(_remove(text, _find(text, path), name), path)


def _find(text: str, path: Path) -> MappingNode:
    try:
        node: Node | None = YAML(typ="safe", pure=True).compose(text)
    except YAMLError as exc:
        raise ConfigError("the camera file writes this in a way that cannot be changed from outside") from exc
    for part in path:
        if isinstance(part, int) and isinstance(node, SequenceNode):
            node = node.value[part]
        elif isinstance(part, str) and isinstance(node, MappingNode):
            found = _pair(node, part)
            node = found[1] if found else None
    if not isinstance(node, MappingNode):
        raise ConfigError("the camera file writes this in a way that cannot be changed from outside")
    return node


def _pair(node: MappingNode, name: str) -> tuple[Node, Node] | None:
    for key, value in node.value:
        if isinstance(key, ScalarNode) and key.value == name:
            return key, value
    return None


def _is_own(key: Node, value: Node) -> bool:
    """Whether the value stands behind its key; an alias has the node of its anchor, which lies before it."""
    return bool(value.start_mark.index >= key.end_mark.index)


def _end(text: str, key: Node, value: Node) -> int:
    """Return where the text of a key and its value ends."""
    if not _is_own(key, value):
        alias = re.compile(r"\s*:\s*\*[^\s,\]}]+").match(text, key.end_mark.index)
        return alias.end() if alias else int(key.end_mark.index)
    if value.start_mark.index == value.end_mark.index:  # nothing: the colon ends it
        return text.index(":", key.end_mark.index) + 1
    return _end_of(text, value)


def _end_of(text: str, value: Node) -> int:
    """Return where a value's own text ends: a block's mark lies behind the comments that follow it."""
    if isinstance(value, MappingNode) and not value.flow_style and value.value:
        return _end(text, *value.value[-1])
    if isinstance(value, SequenceNode) and not value.flow_style and value.value:
        last = value.value[-1]
        return _end_of(text, last) if _is_inside(value, last) else int(value.end_mark.index)
    return int(value.end_mark.index)


def _is_inside(holder: Node, item: Node) -> bool:
    return bool(item.start_mark.index >= holder.start_mark.index)


def _line_start(text: str, index: int) -> int:
    return text.rfind("\n", 0, index) + 1


def _line_end(text: str, index: int) -> int:
    """Return where the next line begins."""
    if index and text[index - 1] == "\n":
        return index
    at = text.find("\n", index)
    return len(text) if at < 0 else at + 1


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _add(text: str, node: MappingNode, name: str, value: Any) -> str:
    style = _style([key for key, _ in node.value]) if node.flow_style else None
    pair = f"{_flow(name, style)}: {_flow(value, style)}"
    if node.flow_style or not node.value:
        at = node.end_mark.index - 1 if not node.value else _end(text, *node.value[-1])
        return text[:at] + (", " if node.value else "") + pair + text[at:]
    first, _ = node.value[0]
    at = _line_end(text, max(_end(text, key, item) for key, item in node.value))
    newline = _newline(text)
    lead = "" if text[:at].endswith("\n") else newline
    return f"{text[:at]}{lead}{' ' * first.start_mark.column}{pair}{newline}{text[at:]}"


def _remove(text: str, node: MappingNode, name: str) -> str:
    names = [key.value for key, _ in node.value]
    at = names.index(name)
    key, value = node.value[at]
    begins, ends = key.start_mark.index, _end(text, key, value)
    if node.flow_style:
        if at > 0:
            begins = _end(text, *node.value[at - 1])
        elif len(names) > 1:
            ends = node.value[1][0].start_mark.index
        return text[:begins] + text[ends:]
    if text[_line_start(text, begins) : begins].strip():  # behind the dash: the next key takes its place
        return text[:begins] + (text[node.value[1][0].start_mark.index :] if len(names) > 1 else text[ends:])
    return text[: _line_start(text, begins)] + text[_line_end(text, ends) :]


def _splice(text: str, old: Node, new: str) -> str:
    begins, ends = old.start_mark.index, old.end_mark.index
    lead = "" if text[begins - 1 : begins] in (" ", "\n") else " "
    return text[:begins] + lead + new + text[ends:]


def _style(nodes: Sequence[Node]) -> str | None:
    """Return the double quote when everything is written with it: JSON stays JSON."""
    is_json = bool(nodes) and all(isinstance(node, ScalarNode) and node.style == '"' for node in nodes)
    return '"' if is_json else None


def _items(text: str, old: SequenceNode, values: Sequence[Any]) -> list[str]:
    """Return the items of a flow list: those that stay as they are written, others in flow style."""
    written = {
        node.value: text[node.start_mark.index : node.end_mark.index]
        for node in old.value
        if isinstance(node, ScalarNode)
        and _is_inside(old, node)
        and "\n" not in text[node.start_mark.index : node.end_mark.index]
    }
    style = _style(old.value)
    return [
        written.get(value) or _flow(value, style) if isinstance(value, str) else _flow(value, style)
        for value in values
    ]


def _without_texts(text: str, old: SequenceNode) -> str:
    """Return what stands between the items of a flow list."""
    at, rest = old.start_mark.index, []
    for node in old.value:
        if not isinstance(node, ScalarNode) or not _is_inside(old, node):
            return text[old.start_mark.index : old.end_mark.index]
        rest.append(text[at : node.start_mark.index])
        at = node.end_mark.index
    return "".join([*rest, text[at : old.end_mark.index]])


def _set_block_list(text: str, old: SequenceNode, values: Sequence[Any]) -> str:
    """Replace the lines of the items that go; the lines of the others stay with their comments."""
    if any(not _is_inside(old, item) for item in old.value):
        raise ConfigError("the list has aliases among its items; change it in the file")
    dash = " " * old.start_mark.column + "- "
    begins = _line_start(text, old.start_mark.index)
    if text[begins : old.start_mark.index].strip():
        raise ConfigError("the list begins behind other text; change it in the file")
    newline = _newline(text)
    leads, lines, at = [], [], begins  # comment lines before each item, and the item's own lines
    for item in old.value:
        starts = _line_start(text, item.start_mark.index)
        ends = _line_end(text, _end_of(text, item))
        leads.append(text[at:starts])
        lines.append(text[starts:ends])
        at = ends
    if not lines[-1].endswith("\n"):
        lines[-1] += newline
    before = [item.value if isinstance(item, ScalarNode) else id(item) for item in old.value]
    kept = dict(zip(before, lines, strict=True))
    after = [value if isinstance(value, str) else _flow(value) for value in values]
    new = ""
    for kind, i, j, k, m in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "equal":
            new += "".join(lead + line for lead, line in zip(leads[i:j], lines[i:j], strict=True))
        else:
            new += "".join(leads[i:j])
            new += "".join(
                kept.get(name) or dash + _flow(value) + newline
                for name, value in zip(after[k:m], values[k:m], strict=True)
            )
    return text[:begins] + new + text[at:]


def _flow(value: Any, style: str | None = None) -> str:
    """Return a value as YAML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_flow(str(k), style)}: {_flow(v, style)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_flow(item, style) for item in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if not isinstance(value, str):
        return "null" if value is None else _quoted(str(value))
    if style == "'" and value.isprintable():
        return "'" + value.replace("'", "''") + "'"
    return value if style is None and _is_plain(value) else _quoted(value)


def _is_plain(value: str) -> bool:
    if not value[:1].isalpha() or not value.isprintable() or value != value.strip():
        return False
    if any(sign in value for sign in ',[]{}#:"\\&*!|>%@`'):
        return False
    return bool(YAML(typ="safe", pure=True).load(f"[{value}]") == [value])


def _quoted(value: str) -> str:
    out = ""
    for sign in value:
        code = ord(sign)
        if sign in '"\\':
            out += "\\" + sign
        elif sign.isprintable() and sign != BOM:
            out += sign
        else:
            out += (
                f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
            )
    return f'"{out}"'
