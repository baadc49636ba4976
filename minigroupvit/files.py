"""Text files in any encoding, and files that are written as a whole or not at all."""

from __future__ import annotations

import codecs
import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

_MARKS = {codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF32_BE: "UTF-32", codecs.BOM_UTF16_LE: "UTF-16",
          codecs.BOM_UTF16_BE: "UTF-16"}          # in this order: one begins as the other


def read_text(path: str | Path) -> str:
    """The text of a file in UTF-8, with or without a byte-order mark (Windows writes one).

    Raises ValueError with the line and a likely encoding, where the file has another one.
    """
    content = Path(path).read_bytes()
    try:
        if _is_utf16(content):                    # without a mark, every second byte of plain letters is a zero
            raise UnicodeDecodeError("utf-8", content, content.index(b"\0"), len(content), "UTF-16")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[:error.start].count(b"\n") + 1
        raise ValueError(f"{path} is not in UTF-8, which is expected: line {line} has "
                         f"{encoding_hint(content, error.start)}") from None


def encoding_hint(content: bytes, position: int) -> str:
    """The likely encoding of a byte that is not UTF-8, and what to do, for a message."""
    start = content.rfind(b"\n", 0, position) + 1
    line = content[start:].partition(b"\n")[0]
    mark = next((name for mark, name in _MARKS.items() if content.startswith(mark)), None)
    if mark or _is_utf16(content):
        name = code = mark or "UTF-16"
    elif sum(byte > 127 for byte in line) > sum(chr(byte).isalpha() for byte in line if byte < 128):
        name, code = "that of another script, such as Windows-1251, GB18030 or Shift-JIS", "ITS_ENCODING"
    else:
        around = line[max(0, position - start - 20):position - start + 20].decode("cp1252", errors="replace")
        name, code = f"Windows-1252, in which it reads {around.strip()!r}", "WINDOWS-1252"
    return (f"the byte 0x{content[position]:02x}; the encoding is likely {name}. Save the file as UTF-8, such as by "
            f"iconv -f {code} -t UTF-8 OLD > NEW")


def _is_utf16(content: bytes) -> bool:
    return content[:1000].count(0) > len(content[:1000]) / 4


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Calls write(temporary path), then moves the file to its place in one step.

    Raises OSError, which says what to do, where it cannot be written: a full disk. An older file stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(temporary)
        mask = os.umask(0)  # the only way to read it; safetensors' files are readable for their owner alone
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:     # safetensors has an error of its own for a full disk
        if isinstance(error, OSError) and error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise                                   # no permission, ...: the message is clear
        raise OSError(errno.ENOSPC, f"{' '.join(str(error).split())}; an older file is kept: free some space and give "
                      "the same command again, a training run resumes from its last checkpoint", str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Writes a dictionary as JSON, atomically. Raises ValueError for a number that is NaN or infinite."""
    text = json.dumps(values, indent=2, allow_nan=False) + "\n"
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))
