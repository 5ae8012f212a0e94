"""Changes the camera file: one camera's settings, and not a byte beside them. Knows no service and no HTTP.

`edit` is pure, text to text. Only the values that change are replaced in the text, so comments, key order, quoting and
`${NAME}` stay as they were written (a dump by the YAML library would wrap lines and move comments). The outcome is read
again and has to equal the old document with the change applied; where it does not (an anchor that others use), the
change is refused. `CameraFileStore` writes: a temporary file beside it, fsync, rename; in place where that cannot be.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import fcntl
import hashlib
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from shared.cameras import CameraFile, expand, parse_cameras, parse_yaml, read_bytes
from shared.errors import ClipwatchError, ConfigError, redact
from shared.files import Replace, replace_file, sync_folder

# Any in this module: what a YAML file can hold
Values = Mapping[str, Any]
MAPPINGS = ("motion",)  # merged key by key, as `defaults:` are
_BOM = "\ufeff"
_MASK = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")
_IN_PLACE = (errno.EBUSY, errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS)


class UnknownCamera(ConfigError):
    """The file has no such camera."""


class BrokenFile(ConfigError):
    """The file as it lies there has faults: nobody can tell what a change of it would mean."""


class CameraFileChanged(ClipwatchError):
    """The file is another one than the editor has seen."""


class NotWritable(ClipwatchError):
    """The file cannot be written; it is as it was."""


@dataclass(frozen=True, slots=True)
class CameraFileVersion:
    """The camera file at one moment; `revision` names its bytes."""

    cameras: CameraFile
    revision: str


def edit(text: str, camera: str, values: Values, environment: Mapping[str, str]) -> str:
    """Return `text` with the camera's own `values` set; None takes a value away, `defaults:` then hold again.

    Raises UnknownCamera; ConfigError where the text does not allow the change. The new values are not validated here.
    """
    bom, text = (_BOM, text[1:]) if text.startswith(_BOM) else ("", text)
    document = parse_yaml(text, "camera file")
    index = _index(document, camera)
    values = _as_written(document["cameras"][index], values, environment)
    wanted = changed_document(document, camera, values)
    for name, value in values.items():
        if isinstance(value, Mapping) and name in MAPPINGS:
            text = _edit_mapping(text, index, name, value)
        else:
            text = _set(text, ("cameras", index), name, value)
    try:
        is_meant = _same(parse_yaml(text, "camera file"), wanted)
    except ConfigError:
        is_meant = False
    if not is_meant:
        raise ConfigError(
            f"camera {camera!r}: {', '.join(values)}: the file shares this with other places (an anchor &name), or "
            "writes it in a way that cannot be changed from outside; change it in the file"
        )
    return bom + text


def changed_document(document: Values, camera: str, values: Values) -> dict[str, Any]:
    """Return the document of a camera file with the camera's own `values` set; the argument stays as it is."""
    cameras = list(document["cameras"])
    index = _index(document, camera)
    cameras[index] = _merged(cameras[index], values)
    return {**document, "cameras": cameras}


def _merged(entry: Values, values: Values) -> dict[str, Any]:
    merged = dict(entry)
    for name, value in values.items():
        if value is None:
            merged.pop(name, None)
        elif name in MAPPINGS and isinstance(value, Mapping):
            own = entry.get(name)
            inner = _merged(own if isinstance(own, Mapping) else {}, value)
            merged.pop(name, None)
            if inner:
                merged[name] = inner
        else:
            merged[name] = value
    return merged


def _index(document: Values, camera: str) -> int:
    entries = document.get("cameras")
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        if isinstance(entry, Mapping) and str(entry.get("id")) == camera:
            return index
    raise UnknownCamera(f"camera {camera!r}: is not in the camera file")


def _as_written(entry: Values, values: Values, environment: Mapping[str, str]) -> dict[str, Any]:
    """Leave out what says the same already, and write texts that came from `${NAME}` as they stand in the file."""
    written: dict[str, Any] = {}
    for name, value in values.items():
        own = entry.get(name)
        if isinstance(value, Mapping) and isinstance(own, Mapping):
            inner = _as_written(own, value, environment)
            if inner:
                written[name] = inner
            continue
        if isinstance(value, list | tuple):
            texts = [text for text in own if isinstance(text, str)] if isinstance(own, list) else []
            known = {expand(text, environment): text for text in texts}
            value = [known.get(item, item) if isinstance(item, str) else item for item in value]
        if isinstance(value, str) and isinstance(own, str) and expand(own, environment) == value:
            value = own
        if not (name in entry and _same(own, value)):
            written[name] = value
    return written


def placeholders(value: Any) -> list[str]:
    """Return every `${NAME}` in a value that comes from outside: writing one would read the environment."""
    if isinstance(value, str):
        return _MASK.findall(value)
    if isinstance(value, Mapping):
        return [found for item in value.values() for found in placeholders(item)]
    if isinstance(value, list | tuple):
        return [found for item in value for found in placeholders(item)]
    return []


# -- text


def _edit_mapping(text: str, index: int, name: str, values: Values) -> str:
    entry = parse_yaml(text, "camera file")["cameras"][index]
    own = entry.get(name)
    inner = _merged(own if isinstance(own, Mapping) else {}, values)
    node = _find(text, ("cameras", index))
    found = _pair(node, name)
    if found is None or not _is_own(*found) or not isinstance(found[1], MappingNode) or not inner:
        return _set(text, ("cameras", index), name, inner or None)
    # what is taken away comes last: a mapping that is empty meanwhile could not be added to
    for key, value in sorted(values.items(), key=lambda one: one[1] is None):
        text = _set(text, ("cameras", index, name), key, value)
    return text


def _set(text: str, path: tuple[str | int, ...], name: str, value: Any) -> str:
    """Set, add or take away one key of the mapping at `path`."""
    node = _find(text, path)
    found = _pair(node, name)
    if found is None:
        return text if value is None else _add(text, node, name, value)
    if value is None:
        return _take_away(text, node, name)
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
        return _add(_take_away(text, node, name), _find_after(text, path, name), name, value)
    if isinstance(old, ScalarNode) and old.style in ("|", ">"):
        raise ConfigError(f"{name}: is written as a block of text; change it in the file")
    return _splice(text, old, _flow(value, old.style if isinstance(old, ScalarNode) else None))


def _find_after(text: str, path: tuple[str | int, ...], name: str) -> MappingNode:
    return _find(_take_away(text, _find(text, path), name), path)


def _find(text: str, path: tuple[str | int, ...]) -> MappingNode:
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


def _take_away(text: str, node: MappingNode, name: str) -> str:
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
        elif sign.isprintable() and sign != _BOM:
            out += sign
        else:
            out += (
                f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
            )
    return f'"{out}"'


def _same(one: Any, other: Any) -> bool:
    """Equal values of equal kinds: 1 is not true."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(_same(a, b) for a, b in zip(one, other, strict=True))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


# -- file


class CameraFileStore:
    """The camera file on disk: reads and changes it; one writer at a time, other processes of ours included."""

    def __init__(
        self,
        path: Path,
        environment: Mapping[str, str] | None = None,
        replace: Replace = os.replace,
    ) -> None:
        self.path = path
        self._environment = os.environ if environment is None else environment
        self._replace = replace
        self._lock = threading.Lock()

    def read(self) -> CameraFileVersion:
        """Read and validate the file; raises ConfigError with every fault."""
        with self._locked():
            raw = read_bytes(self.path)
        return CameraFileVersion(self._parse(parse_yaml(raw, self.path.name)), revision_of(raw))

    def change(self, camera: str, values: Values, if_revision: str | None = None) -> CameraFileVersion:
        """Set `values` of a camera in the file, and return what the file says now.

        Raises CameraFileChanged when the file is not at `if_revision` any more, BrokenFile when it has faults already,
        UnknownCamera, ConfigError with every fault of the new values, NotWritable. Nothing changes then.
        """
        if found := placeholders(values):
            raise ConfigError(
                f"{self.path.name}: camera {camera!r}: found {', '.join(found)}, wanted plain values; write "
                "${NAME} into the file by hand"
            )
        with self._locked():
            try:
                raw = read_bytes(self.path)
            except ConfigError as exc:
                raise BrokenFile(exc.faults) from exc
            if if_revision is not None and if_revision != revision_of(raw):
                raise CameraFileChanged(
                    f"{self.path.name}: was changed since; read the settings again, then change them"
                )
            try:
                document = parse_yaml(raw, self.path.name)
                self._parse(document)
            except ConfigError as exc:
                raise BrokenFile(exc.faults) from exc
            self._parse(changed_document(document, camera, values))  # the faults of the new values
            text = raw.decode("utf-8")
            try:
                new = edit(text, camera, values, self._environment).encode("utf-8")
            except UnicodeEncodeError as exc:
                raise ConfigError(f"{self.path.name}: camera {camera!r}: holds half a character") from exc
            cameras = self._parse(parse_yaml(new, self.path.name))
            if new != raw:
                write_atomically(self.path, new, self._replace)
            return CameraFileVersion(cameras, revision_of(new))

    def _parse(self, document: Values) -> CameraFile:
        return parse_cameras(document, self.path.name, self.path.parent, self._environment)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One at a time in this process, and by flock(2) on the folder among processes (`clipwatch labels`)."""
        with self._lock, contextlib.ExitStack() as stack:
            with contextlib.suppress(
                OSError
            ):  # a folder on a file system without locks: the revision still tells
                folder = os.open(self.path.resolve().parent, os.O_RDONLY)
                stack.callback(os.close, folder)
                fcntl.flock(folder, fcntl.LOCK_EX)
            yield


def revision_of(raw: bytes) -> str:
    """Name the bytes of a file."""
    return hashlib.sha256(raw).hexdigest()[:16]


def write_atomically(path: Path, raw: bytes, replace: Replace = os.replace) -> None:
    """Replace the file's bytes; a reader sees the old or the new ones. Links are followed, mode and owner stay.

    Where the name cannot be replaced (a single file mounted into a container: EBUSY; a folder that may not be
    written) the file is overwritten in place. Raises NotWritable; the old bytes are there then.
    """
    target = path.resolve()
    try:
        _replace(target, raw, replace)
    except OSError as exc:
        if exc.errno not in _IN_PLACE:
            raise _not_writable(path, exc) from exc
        _overwrite(path, target, raw)


def _replace(target: Path, raw: bytes, replace: Replace) -> None:
    facts = target.stat()
    if not os.access(target, os.W_OK):  # a file that its owner protected is not replaced behind his back
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    replace_file(target, raw, facts.st_mode & 0o7777, (facts.st_uid, facts.st_gid), replace)
    with contextlib.suppress(OSError):
        sync_folder(target.parent)


def _overwrite(path: Path, target: Path, raw: bytes) -> None:
    try:
        with target.open("r+b") as file:
            old = file.read()
            try:
                _write_over(file.fileno(), raw)
            except OSError:
                _write_over(file.fileno(), old)
                raise
    except OSError as exc:
        raise _not_writable(path, exc) from exc


def _write_over(handle: int, raw: bytes) -> None:
    os.lseek(handle, 0, os.SEEK_SET)
    rest = memoryview(raw)
    while rest:
        rest = rest[os.write(handle, rest) :]
    os.ftruncate(handle, len(raw))
    os.fsync(handle)


def _not_writable(path: Path, exc: OSError) -> NotWritable:
    return NotWritable(
        redact(
            f"{path.name}: cannot be written: {exc.strerror}; nothing was changed. Make the file writable for this "
        )
        + "service (in containers: mount its folder without read_only), or change it where it can be"
    )
