"""Text files as people have them."""

from __future__ import annotations

from pathlib import Path


def read_text(path: str | Path) -> str:
    """The text of a file in UTF-8, with or without a byte-order mark (Windows writes one).

    Raises ValueError that names file and line where it is in another encoding.
    """
    content = Path(path).read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[:error.start].count(b"\n") + 1
        raise ValueError(
            f"{path} is not in UTF-8: line {line} has the byte 0x{content[error.start]:02x}, as Windows-1252 and "
            f"Latin-1 write letters such as {bytes([content[error.start]]).decode('cp1252', errors='replace')!r}; "
            "save it as UTF-8") from None
