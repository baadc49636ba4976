"""Text files with a byte-order mark, and in another encoding."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from minigroupvit.data.captioned.open import open_dataset
from minigroupvit.data.mask_sets import open_masks
from minigroupvit.files import read_text, write_json

BOM = b"\xef\xbb\xbf"


def test_a_byte_order_mark_is_no_letter(tmp_path) -> None:
    for number, content in enumerate((b"sky\nroad\n", BOM + b"sky\nroad\n")):
        (tmp_path / f"{number}.txt").write_bytes(content)
        assert read_text(tmp_path / f"{number}.txt").splitlines() == ["sky", "road"]


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_another_encoding_names_file_and_line(tmp_path, encoding: str) -> None:
    file = tmp_path / "names.txt"
    file.write_bytes("sky\nroad\nmüll\n".encode(encoding))
    with pytest.raises(ValueError, match=r"names.txt is not in UTF-8, which is expected: line 3 has the byte 0xfc; the "
                       "encoding is likely Windows-1252, in which it reads 'müll'. Save the file as UTF-8"):
        read_text(file)


@pytest.mark.parametrize(("content", "said"), [
    ("ein Hut\nvert\n".encode("utf-16"), "line 1 .* likely UTF-16. .* iconv -f UTF-16 "),
    ("ein Hut\n".encode("utf-16-be"), "line 1 has the byte 0x00; .* likely UTF-16. "),
    ("a hat\n".encode("utf-32"), "likely UTF-32"),
    ("hat\nзелёная шляпа\n".encode("cp1251"), "line 2 .* another script, such as Windows-1251"),
    ("帽子\n".encode("gb18030"), "line 1 .* GB18030")])
def test_the_likely_encoding_is_named(tmp_path, content: bytes, said: str) -> None:
    (tmp_path / "words.txt").write_bytes(content)
    with pytest.raises(ValueError, match=f"words.txt is not in UTF-8, which is expected: .*{said}"):
        read_text(tmp_path / "words.txt")


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_metadata_with_a_byte_order_mark_and_in_another_encoding(tmp_path, kind: str) -> None:
    for n in range(3):
        Image.new("RGB", (4, 4), (n, 0, 0)).save(tmp_path / f"{n}.png")
    rows = [{"file_name": f"{n}.png", "caption": f"a café, {n}"} for n in range(3)]
    text = ("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows) if kind == "jsonl" else
            "file_name,caption\n" + "".join(f'{r["file_name"]},"{r["caption"]}"\n' for r in rows))
    file = tmp_path / f"metadata.{kind}"
    for mark in (b"", BOM):
        file.write_bytes(mark + text.encode())
        assert open_dataset(tmp_path)["caption"][2] == "a café, 2"
    file.write_bytes(text.encode("cp1252"))
    with pytest.raises(ValueError, match=f"metadata.{kind} is not in UTF-8, which is expected: line "
                       f"{1 + (kind == 'csv')} has the byte 0xe9"):
        open_dataset(tmp_path)


def test_class_names_with_a_byte_order_mark_keep_their_background(tmp_path) -> None:
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
        Image.new("RGB" if name == "images" else "L", (8, 8)).save(tmp_path / name / "a.png")
    (tmp_path / "classes.txt").write_bytes(BOM + b"background\nlamp\n")
    masks = open_masks("folder", tmp_path)
    assert masks.has_background and list(masks.class_names) == ["lamp"]


def test_json_is_written_whole_or_not_at_all(tmp_path) -> None:
    file = tmp_path / "inside" / "record.json"
    write_json(file, {"a": [1, 2.5], "b": None})
    assert json.loads(file.read_text()) == {"a": [1, 2.5], "b": None}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(file, {"a": float("nan")})
    assert json.loads(file.read_text())["b"] is None and [path.name for path in file.parent.iterdir()] == ["record.json"]
