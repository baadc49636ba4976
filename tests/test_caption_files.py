"""Caption files as data sets come with them: recognised by themselves, with their splits and their images."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest
from PIL import Image

from minigroupvit.data.captioned import caption_files
from minigroupvit.data.captioned.open import open_captioned, open_dataset, open_held_out, open_validation, splits


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def folder(tmp_path) -> Path:
    found = tmp_path / "photos"
    found.mkdir()
    return found


def pictures(folder: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 7), (number, 50, 90)).save(folder / name)


def captions(folder: Path, split: str | None = None, **choices) -> dict[str, list[str]]:
    """Name of the image -> its captions, which all begin with the name."""
    found = [sample.captions for sample in open_captioned(folder, 8, split, **choices)]
    return {texts[0].split()[0]: texts for texts in found}


def coco(names: list[str], per_picture: int = 2) -> str:
    images = [{"id": 70 + number, "file_name": name, "height": 7} for number, name in enumerate(names)]
    annotations = [{"id": 9 * number + seen, "image_id": 70 + number, "caption": f"{name} seen {seen}"}
                   for seen in range(per_picture) for number, name in enumerate(names)]
    return json.dumps({"annotations": annotations, "licenses": [], "images": images})


def karpathy(splits: dict[str, str], **more) -> str:
    return json.dumps({"images": [{"filename": name, "split": split, "imgid": 3, **more,
                                   "sentences": [{"raw": f"{name} in {split}", "tokens": ["x"]}, {"raw": "a boat"}]}
                                  for name, split in splits.items()], "dataset": "own"})


TABLES = {
    "captions.txt": 'image,caption\nu.png,u.png runs, and jumps\nu.png,"u.png, they say ""hello"""\nv.png,v.png sits\n',
    "results.csv": "image_name| comment_number| comment\nu.png| 0| u.png runs, and jumps\nu.png| 1   "
                   'u.png, they say "hello"\nv.png| 0| v.png sits\n',
    "labels.tsv": 'caption\tfilename\nu.png runs, and jumps\tu.png\nu.png, they say "hello"\tu.png\n'
                  'v.png sits\tv.png\n',
    "own.token": 'u.png#0\tu.png runs, and jumps\nu.png#1\tu.png, they say "hello"\nv.png#0\tv.png sits\n',
    "list.csv": 'raw;filename;id\n"[""u.png runs, and jumps"", ""u.png, they say \\""hello\\""""]";u.png;4\n'
                'v.png sits;v.png;5\n'}


@pytest.mark.parametrize("cache", ["memory", "disk", "stream"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("name", TABLES)
def test_tables_and_numbered_lines(folder: Path, name: str, end: str, cache: str) -> None:
    pictures(folder / "Images", "u.png", "v.png")
    (folder / name).write_bytes(TABLES[name].replace("\n", end).encode("utf-8-sig"))
    expected = {"u.png": ["u.png runs, and jumps", 'u.png, they say "hello"'], "v.png": ["v.png sits"]}
    found = captions(folder, cache=cache, num_workers=0)
    assert {texts[0].split()[0].strip(","): texts for texts in found.values()} == expected
    assert captions(folder / name, num_workers=0).keys() == found.keys(), "the file alone does as well"


def test_lists_beside_a_file_are_its_splits(folder: Path) -> None:
    names = [f"{n}.png" for n in range(8)]
    pictures(folder / "Flicker8k_Dataset" / "Flicker8k_Dataset", *names)
    texts = folder / "Flickr8k_text"
    texts.mkdir()
    lines = [f"{name}#{k}\t{name} is {k}\n" for name in names for k in range(2)]
    (texts / "Flickr8k.token.txt").write_text("".join(lines))
    (texts / "Flickr8k.lemma.token.txt").write_text("0.png#0\t0.png be 0\n")
    (texts / "readme.txt").write_text("text, with a file\n")
    for split, listed in (("train", names[:4]), ("dev", names[4:6]), ("test", names[6:7])):
        (texts / f"Flickr_8k.{split}Images.txt").write_text("\n".join(listed) + "\n")
    assert sorted(splits(folder)) == ["test", "train", "unlisted", "validation"]
    assert list(captions(folder)) == names[:4] and list(captions(folder, "val")) == names[4:6]
    assert captions(folder, "train+unlisted")["7.png"] == ["7.png is 0", "7.png is 1"]
    assert [texts[0][:5] for texts in open_validation(folder, 8).captions] == names[4:6]


@pytest.mark.parametrize("place", ["annotations", "."])
def test_coco_has_its_splits_in_the_names_of_its_files(folder: Path, place: str) -> None:
    (folder / place).mkdir(exist_ok=True)
    for split, count in (("train2014", 5), ("val2014", 3)):
        pictures(folder / "images" / split, *(f"{n:04}.png" for n in range(count)))      # the same names in both
        (folder / place / f"captions_{split}.json").write_text(coco([f"{n:04}.png" for n in range(count)]))
    (folder / place / "instances_val2014.json").write_text('{"images": [{"file_name": "0.png"}], "annotations": []}')
    assert splits(folder) == ["train", "validation"] and len(captions(folder)) == 5
    assert captions(folder, "dev")["0002.png"] == ["0002.png seen 0", "0002.png seen 1"]
    stored = open_dataset(folder, "validation").cast_column("image", datasets.Image(decode=False))
    assert "val2014" in stored[0]["image"]["path"]
    assert splits(folder / place / "captions_val2014.json") == ["train"], "what was asked for is for training"


def test_a_large_file_of_coco_is_recognised_by_its_beginning_and_its_end(folder: Path) -> None:
    pictures(folder, "1.png")
    content = json.loads(coco(["1.png"]))
    content = {"info": {}, "images": content["images"], "licenses": ["x" * 300_000],
               "annotations": content["annotations"]}
    (folder / "captions.json").write_text(json.dumps(content))
    assert captions(folder) == {"1.png": ["1.png seen 0", "1.png seen 1"]}


@pytest.mark.parametrize("kind", ["metadata.csv", "captions.csv"])
def test_paths_written_in_other_ways_are_the_same_pictures(folder: Path, kind: str, monkeypatch) -> None:
    pictures(folder, "1.png", "in/2.png")
    (folder / kind).write_text("file_name,caption\n./1.png,1.png there\nin/../in/2.png,2.png there\n")
    (folder.parent / "work").mkdir()
    monkeypatch.chdir(folder.parent / "work")
    assert len(captions("../photos")) == 2, "and no warning of others"


@pytest.mark.parametrize("place", ["val2014", "."])
def test_karpathys_splits(folder: Path, place: str) -> None:
    own = {"k1.png": "train", "k2.png": "restval", "k3.png": "val", "k4.png": "test", "k5.png": "train"}
    pictures(folder / "images" / place, *own)
    (folder / "dataset_own.json").write_text(karpathy(own, filepath="val2014"))
    assert splits(folder) == ["train", "restval", "validation", "test"]
    assert list(captions(folder)) == ["k1.png", "k5.png"]
    assert captions(folder, "train+restval")["k2.png"] == ["k2.png in restval", "a boat"]
    with pytest.raises(ValueError, match="no split 'restvla' in .*; it has train, restval, validation, test"):
        open_dataset(folder, "train+restvla")


def blip(entries: list[dict]) -> str:
    """Written as BLIP's files are, the caption before the image."""
    return json.dumps([{"caption": entry.pop("caption"), **entry} for entry in entries])


@pytest.mark.parametrize("place", ["annotations", "."])
def test_lists_of_images_and_captions_as_blip_has_them(folder: Path, place: str) -> None:
    """For training one caption per entry, for validation all captions of an image in one entry."""
    (folder / place).mkdir(exist_ok=True)
    pictures(folder / "images", "val2014/u.png", "val2014/v.png", "val2014/w.png")
    (folder / place / "coco_karpathy_train.json").write_text(blip([
        {"image": f"val2014/{name}", "caption": f"{name} {seen}", "image_id": f"coco_{name}"}
        for seen in ("runs", "sits") for name in ("u.png", "v.png")]))
    (folder / place / "coco_karpathy_val.json").write_text(blip([
        {"image": "val2014/w.png", "caption": ["w.png jumps", "w.png, or a cat"]}]))
    assert splits(folder) == ["train", "validation"]
    assert captions(folder) == {name: [f"{name} runs", f"{name} sits"] for name in ("u.png", "v.png")}
    assert captions(folder, "val") == {"w.png": ["w.png jumps", "w.png, or a cat"]}
    assert captions(folder / place / "coco_karpathy_val.json", max_skipped=0).keys() == {"w.png"}


def test_a_list_may_name_its_splits_and_nouns(folder: Path) -> None:
    pictures(folder, "u.png", "v.png")
    (folder / "own.json").write_text(json.dumps([
        {"file_name": "u.png", "Text": "u.png runs", "split": "train", "nouns": ["dog", "snow"], "score": 0.3},
        {"file_name": "v.png", "Text": "v.png sits", "split": "dev", "nouns": "cat", "score": 0.4},
        {"file_name": None, "Text": "no one", "split": "train"},
        {"file_name": "u.png", "Text": None, "split": "train"}]))
    data = open_captioned(folder, 8, "train", nouns="nouns", max_skipped=0.5)
    assert [(sample.captions, sample.nouns) for sample in data] == [(["u.png runs"], ["dog", "snow"])]
    assert data.skipped.report() == (
        "skipped 1 of 2 captioned images: 1 with no image (such as own.json, entry 2); and 1 of their captions: 1 with "
        "no caption (such as own.json, entry 3)")
    assert list(captions(folder, "validation")) == ["v.png"]


def test_a_file_is_parsed_once_until_it_changes(folder: Path, monkeypatch) -> None:
    parsed, real = [], caption_files._load_json
    monkeypatch.setattr(caption_files, "_load_json", lambda file: parsed.append(file.name) or real(file))
    for split in ("train", "val"):
        pictures(folder / split, f"{split}.png")
        (folder / f"captions_{split}.json").write_text(coco([f"{split}.png"]))
    for part in (*splits(folder), "train", "validation"):
        assert len(captions(folder, part)) == 1
    assert len(parsed) == 2
    pictures(folder / "train", "other.png")
    (folder / "captions_train.json").write_text(coco(["train.png", "other.png"]))
    assert captions(folder).keys() == {"train.png", "other.png"} and len(parsed) == 3


def test_a_text_beside_each_picture_and_folders_as_splits(folder: Path) -> None:
    pictures(folder, "train/a/1.png", "train/2.JPG", "valid/3.png", "valid/4.png")
    for name in ("train/a/1.png", "train/2.JPG", "valid/3.png"):
        (folder / name).with_suffix(".txt").write_text(f"{name} is here\n\n{name} is there\n")
    assert captions(folder) == {name: [f"{name} is here", f"{name} is there"]
                                for name in ("train/2.JPG", "train/a/1.png")}
    data = open_captioned(folder, 8, "validation", max_skipped=0.5)
    assert len(data) == 1 and data.skipped.report().endswith(f"1 with no caption (such as {Path('valid/4.txt')})")


def test_the_splits_of_tables_in_their_names_or_folders(folder: Path) -> None:
    pictures(folder / "images", "1.png", "2.png", "3.png")
    for name, split in (("1.png", "train"), ("2.png", "val"), ("3.png", "test")):
        (folder / f"{split}.csv").write_text(f"file_name,text\n{name},{name} there\n")
    assert sorted(splits(folder)) == ["test", "train", "validation"] and list(captions(folder, "test")) == ["3.png"]
    (folder / "train.csv").write_text("image,caption,split\n1.png,1.png there,valid\n2.png,2.png there,train\n")
    assert list(captions(folder / "train.csv", "validation")) == ["1.png"]


def test_missing_pictures_are_skipped_and_named(folder: Path) -> None:
    pictures(folder, *(f"{n}.png" for n in range(1, 25)))
    lines = ["image,caption", *(f"{n}.png,{n}.png there" for n in range(25)), ",no one"]
    (folder / "captions.csv").write_text("\n".join(lines) + "\n")
    data = open_captioned(folder, 8, max_skipped=0.1)
    assert len(data) == 24 and data.skipped.reasons == {"a missing file": 1, "no image": 1}
    assert "captions.csv, line 2: there is no image at " in data.skipped.report() and "0.png" in data.skipped.report()
    for number in range(1, 25):
        (folder / f"{number}.png").unlink()
    with pytest.raises(ValueError, match="none of the images that .*captions.csv names is there, such as 0.png"):
        open_captioned(folder, 8)


def test_pictures_that_no_line_names_bring_a_warning(folder: Path) -> None:
    pictures(folder, "1.png", "2.png", "inside/3.png", "inside/4.png")
    (folder / "captions.csv").write_text("image,caption\n1.png,1.png there\n2.png,2.png there\n")
    with pytest.warns(UserWarning, match=r"2 images below .*photos are left out: captions.csv does not name them, "
                                         r"such as inside.3.png"):
        assert len(captions(folder)) == 2
    (folder / "captions.csv").rename(folder / "metadata.csv")
    (folder / "metadata.csv").write_text("file_name,caption\n1.png,a\n2.png,b\ninside/4.png,c\n")
    with pytest.warns(UserWarning, match="1 images below .* metadata.csv does not name them"):
        assert len(open_dataset(folder)) == 3


def test_two_formats_or_none(folder: Path) -> None:
    pictures(folder, "1.png", "2.png")
    with pytest.raises(ValueError, match="no captioned data set in .*parquet.*metadata.jsonl.*captions.txt.*results.csv.*"
                                         "token.*COCO.*Karpathy.*BLIP.*1.txt beside 1.jpg; found 1.png, 2.png"):
        open_dataset(folder)
    (folder / "captions.txt").write_text("image,caption\n1.png,1.png there\n")
    (folder / "dataset.json").write_text(karpathy({"2.png": "train"}))
    with pytest.raises(ValueError, match="can be read in 2 ways: captions.txt .*; dataset.json .*; give the path"):
        open_dataset(folder)
    assert list(captions(folder / "dataset.json")) == ["2.png"]


@pytest.mark.parametrize(("name", "content", "said"), [
    ("a.csv", 'image,caption\n1.png,"a red\n2.png,a blue\n3.png,green"\n', "a quote in line 2 is not closed"),
    ("a.txt", "1.png#0\ta hat\n1.png a cap\n", "a.txt, line 2 is '1.png a cap'; expected an image, #, a"),
    ("a.json", '{"images": [{"filename": "1.png", "sentences": [{"raw": "a"}', "a.json is no JSON, or it is cut off"),
    ("a.json", '{"images": [{"filename": "1.png", "sentences": [{"raw" : "a"}]}, {"cocoid": 7}]}',
     "not as expected of Karpathy's"),
    ("a.csv", "image,caption\n", "a.csv has no captions; expected a table"),
    ("a.json", '[{"image": "1.png", "caption": "a"}, {"image": "1.png", "words": "a"}]',
     "a.json, entry 1 has the fields image, words; expected an image and a caption in each"),
    ("a.json", '[{"image": "1.png", "caption": "a"}, 7]', "not as expected of a JSON list as BLIP has it"),
    ("a.tsv", "image\tcaption\n1.png\tein H\xfct\n", "a.tsv is not in UTF-8, which is expected: line 2")])
def test_files_that_are_broken(folder: Path, name: str, content: str, said: str) -> None:
    pictures(folder, "1.png")
    (folder / name).write_bytes(content.encode("latin-1"))
    for place in (folder, folder / name):
        with pytest.raises(ValueError, match=said):
            open_dataset(place)


def test_captions_without_a_word_are_named_by_their_line(folder: Path) -> None:
    pictures(folder, *(f"{n}.png" for n in range(30)))
    (folder / "captions.csv").write_text("image,caption\n" + "".join(f'{n}.png,"{n}.png\nthere"\n' for n in range(30))
                                         + "4.png,\U0001F44D\n")
    data = open_captioned(folder, 8)
    assert data.skipped.report() == (
        "nothing skipped of 30 captioned images; and 1 of their captions: 1 with no caption that has a word (such as "
        "captions.csv, line 62: '\U0001F44D')")
    rest, held = open_held_out(folder, 8, 12)
    reports = sorted([rest.skipped.report(), held.skipped.report()], key=len)
    assert "line 62" in reports[1] and len(rest) == 18 and len(held) == 12


def test_the_list_of_addresses_beside_pictures_is_no_data_set(folder: Path) -> None:
    rows = {"url": ["http://a/1.jpg"], "caption": ["a cat"], "key": ["000000000"], "status": ["success"]}
    datasets.Dataset.from_dict(rows).to_parquet(folder / "00000.parquet")
    for place in (folder, folder / "00000.parquet"):
        with pytest.raises(ValueError, match="00000.parquet has the addresses of images, as img2dataset writes them"):
            open_dataset(place)
    pictures(folder, "00000/000000000.jpg")
    (folder / "00000" / "000000000.txt").write_text("a cat")
    (folder / "00000" / "000000000.json").write_text(coco(["000000000.jpg"]))
    assert open_captioned(folder, 8).captions == [["a cat"]]


def test_metadata_in_a_folder_and_in_one_inside_it(folder: Path) -> None:
    for place in ("", "more"):
        pictures(folder / place, "1.png")
        (folder / place / "metadata.jsonl").write_text('{"file_name": "1.png", "caption": "a cat"}\n')
    with pytest.raises(ValueError, match="there is a metadata file in .*photos and another in .*more; name all"):
        open_dataset(folder)
    with pytest.warns(UserWarning, match="does not name them"):
        assert len(open_dataset(folder / "metadata.jsonl")) == 1


@pytest.mark.parametrize("cache", ["memory", "disk", "stream"])
def test_a_table_may_have_the_nouns_too(folder: Path, cache: str) -> None:
    pictures(folder, "u.png", "v.png")
    table = folder / "list.tsv"
    table.write_text("filename\tThings\tcomment\nu.png\tσκύλος, χιόνι\tu.png τρέχει\n"
                     "u.png\tχιόνι, μπάλα\tu.png παίζει\nv.png\t\tv.png κάθεται\n", encoding="utf-8")
    data = open_captioned(folder, 8, cache=cache, num_workers=0, nouns="Things")
    assert [sample.nouns for sample in data] == [["σκύλος", "χιόνι", "μπάλα"], []]
    batch = next(data.batches(0, 1, 2, 0, 1, ("{}",)))
    assert {caption[0]: sorted(nouns) for caption, nouns in zip(batch.captions, batch.nouns)} == {
        "u": ["μπάλα", "σκύλος", "χιόνι"], "v": []}
    before = data.fingerprint()
    table.write_text(table.read_text(encoding="utf-8").replace("μπάλα", "δέντρο"), encoding="utf-8")
    assert open_captioned(folder, 8, cache=cache, nouns="Things").fingerprint() != before
    plain = open_captioned(folder, 8, cache=cache)
    assert [sample.nouns for sample in plain] == [None, None]
    assert plain.fingerprint()["captions"] != before["captions"]
    with pytest.raises(ValueError, match="no column 'Nouns'; the data set has image, captions, __key__, Things"):
        open_captioned(folder, 8, cache=cache, nouns="Nouns")
