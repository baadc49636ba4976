"""Shards and streams: every sample once, to one worker; a resumed run repeats none and misses none."""

from __future__ import annotations

import functools
import http.server
import io
import json
import tarfile
import threading
from collections import Counter
from pathlib import Path

import datasets
import pytest
import torch
from PIL import Image

from minigroupvit.data.captioned.augment import PAPER, Augmentation
from minigroupvit.data.captioned.open import open_captioned, open_validation
from minigroupvit.data.captioned.samples import Skipped
from minigroupvit.data.captioned.shards import HubShards, TarShards, expand, is_shards, open_tar_shards
from minigroupvit.data.captioned.streamed import CaptionedStream
from minigroupvit.training.config import TrainConfig
from minigroupvit.training.loop import train
from minigroupvit.training.record import Recorder

PER_SHARD = 12


def picture(number: int, kind: str = "JPEG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (20, 14), (number % 256, 90, 30)).save(file, kind)
    return file.getvalue() + str(number).encode()   # behind the end: equal bytes would be one image


def write_shard(path: Path, samples: list[dict[str, bytes]], first_key: int = 0) -> None:
    """As img2dataset does: 000000000.jpg, 000000000.json, 000000000.txt, and the next."""
    with tarfile.open(path, "w") as archive:
        for number, members in enumerate(samples, first_key):
            for kind, content in members.items():
                info = tarfile.TarInfo(f"{number:09d}.{kind}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


def sample(number: int) -> dict[str, bytes]:
    caption = f"a boat number {number}"
    about = {"caption": caption, "key": f"{number:09d}", "status": "success", "error_message": None, "width": 20}
    return {"jpg": picture(number), "json": json.dumps(about).encode(), "txt": caption.encode()}


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Six shards of 12; the caption of a sample has its number."""
    folder = tmp_path / "shards"
    folder.mkdir()
    for shard in range(6):
        write_shard(folder / f"{shard:05d}.tar", [sample(shard * PER_SHARD + i) for i in range(PER_SHARD)])
    (folder / "00000_stats.json").write_text("{}")      # img2dataset leaves these beside them
    return folder


def numbers(batches) -> list[int]:
    return [int(caption.split()[-1]) for batch in batches for caption in batch.captions]


def stream_of(folder: Path, num_workers: int = 0, buffer: int = 5, image_size: int = 8) -> CaptionedStream:
    return CaptionedStream(open_tar_shards(folder), image_size, num_workers=num_workers, buffer=buffer)


def draw(stream: CaptionedStream, start: int, stop: int, folder: Path | None = None, seed: int = 0,
         augmentation: Augmentation = Augmentation(), batch_size: int = 4):
    return list(stream.batches(start, stop, batch_size, seed, 0, (), augmentation, folder=folder))


# Names

def test_names_of_shards(shards: Path, monkeypatch) -> None:
    files = [str(shards / f"{number:05d}.tar") for number in range(6)]
    assert expand(shards) == expand(f"{shards}/*.tar") == expand(f"{shards}/{{00000..00005}}.tar") == files
    assert expand(f"{shards}/0000[1-2].tar") == files[1:3] and expand(files[3]) == [files[3]]
    assert expand("https://somewhere/{00..02}.tar") == [f"https://somewhere/0{i}.tar" for i in range(3)]
    assert is_shards(shards) and is_shards("s3://bucket/{00..09}.tar") and not is_shards("jxie/flickr8k")
    for nothing in ("nowhere/*.tar", "nowhere/{00..03}.tar", "nowhere.tar"):
        with pytest.raises(ValueError, match="there are no shards at nowhere.*'shards/{00000..00099}.tar'"):
            expand(nothing)


def test_missing_shards_are_counted_and_too_many_are_an_error(shards: Path) -> None:
    skipped = Skipped(0.2)
    pattern = f"{shards}/{{00000..00006}}.tar"
    assert len(open_tar_shards(pattern, skipped=skipped)) == 6 and skipped.reasons["a missing file"] == 1
    with pytest.raises(ValueError, match="1 of 7 shards are missing, such as .*00006.tar"):
        open_tar_shards(pattern)


def test_members_are_found_and_unknown_ones_name_those_there_are(shards: Path, tmp_path: Path) -> None:
    opened = open_tar_shards(shards)
    assert (opened.columns.image, opened.columns.captions) == ("jpg", ("txt",))
    row = next(open_tar_shards(shards, captions=["json.caption"]).read(2))
    assert row["json.caption"] == "a boat number 24" and row["__key__"].endswith("00002.tar, 000000000")
    with pytest.raises(ValueError, match=r"no member \.says in .*00000.tar; its samples have jpg, json, txt"):
        open_tar_shards(shards, captions=["says"])
    write_shard(tmp_path / "other.tar", [{"png": picture(1, "PNG"), "json": b'{"caption": "a cat"}'}])
    columns = open_tar_shards(tmp_path / "other.tar").columns
    assert (columns.image, columns.captions) == ("png", ("json.caption",))


def test_files_that_are_no_shards(tmp_path: Path) -> None:
    (tmp_path / "0.tar").write_bytes(b"hello" * 500)
    with pytest.raises(ValueError, match="cannot read the shard .*0.tar.*expected a tar archive"):
        open_tar_shards(tmp_path / "0.tar")
    write_shard(tmp_path / "1.tar", [])
    with pytest.raises(ValueError, match="the shard .*1.tar is empty"):
        open_tar_shards(tmp_path / "1.tar")
    with pytest.raises(ValueError, match="cannot read the shard .*nothing"):
        open_tar_shards("nothing://bucket/{0..3}.tar")


def test_pictures_of_several_kinds_in_one_shard(tmp_path: Path) -> None:
    write_shard(tmp_path / "0.tar", [{"jpg": picture(1), "txt": b"one"}, {"png": picture(2, "PNG"), "txt": b"two"},
                                     {"webp": picture(3, "WEBP"), "txt": b"three"}])
    assert [s.captions for s in stream_of(tmp_path / "0.tar")] == [["one"], ["two"], ["three"]]


# Order

def test_every_sample_comes_once_a_pass_in_another_order_each(shards: Path) -> None:
    found = numbers(draw(stream_of(shards), 0, 36))
    first, second = found[:72], found[72:]
    assert sorted(first) == sorted(second) == list(range(72)) and first != second
    assert first != numbers(draw(stream_of(shards), 0, 18, seed=1))
    assert found == numbers(draw(stream_of(shards), 0, 36)), "the same for the same seed"


def test_a_buffer_mixes_beyond_a_shard(shards: Path) -> None:
    def in_order(found: list[int]) -> float:
        return sum(b == a + 1 for a, b in zip(found, found[1:])) / len(found)

    assert in_order(numbers(draw(stream_of(shards, buffer=1), 0, 18))) > 0.85
    mixed = numbers(draw(stream_of(shards, buffer=30), 0, 18))
    assert in_order(mixed) < 0.15 and len({number // PER_SHARD for number in mixed[:8]}) > 1


def test_pictures_stay_with_their_captions(shards: Path) -> None:
    for batch in draw(stream_of(shards), 0, 4, augmentation=Augmentation(flip=False)):
        reds = (batch.images[:, 0, 4, 4] * 0.229 + 0.485) * 255
        assert (reds - torch.tensor(numbers([batch]))).abs().max() < 4        # JPEG is not exact
        assert batch.images.shape == (4, 3, 8, 8)


def test_workers_share_the_shards(shards: Path) -> None:
    """Two workers take turns; their shards are disjoint, and all samples come."""
    found = draw(stream_of(shards, num_workers=2), 0, 18)
    turns = [{number // PER_SHARD for number in numbers(found[turn::2])} for turn in range(2)]
    assert not turns[0] & turns[1] and len(turns[0]) == len(turns[1]) == 3
    assert sorted(numbers(found)) == list(range(72))


def test_there_are_never_more_workers_than_shards(shards: Path) -> None:
    one = stream_of(shards / "00001.tar", num_workers=4)
    assert sorted(numbers(draw(one, 0, 3))) == list(range(12, 24))


def as_process(rank: int, monkeypatch) -> None:
    """What torch.distributed would say in one of two processes."""
    for module in ("batches", "streamed"):
        monkeypatch.setattr(f"minigroupvit.data.captioned.{module}.rank_and_size", lambda: (rank, 2))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_processes_share_the_shards(shards: Path, monkeypatch, num_workers: int) -> None:
    parts = []
    for rank in range(2):
        as_process(rank, monkeypatch)
        found = draw(stream_of(shards, num_workers), 0, 9, batch_size=8)
        assert all(len(batch.captions) == len(batch.images) == 4 for batch in found), "its share of the batch"
        parts.append(numbers(found))
    # With two workers each, one of a process has two of the three shards, and gives half of the batches.
    assert not {n // PER_SHARD for n in parts[0]} & {n // PER_SHARD for n in parts[1]}
    assert num_workers or sorted(parts[0] + parts[1]) == list(range(72))


def test_every_process_needs_a_shard_of_its_own(shards: Path, monkeypatch) -> None:
    as_process(0, monkeypatch)
    with pytest.raises(ValueError, match="there are 1 shards for 2 processes"):
        draw(stream_of(shards / "00000.tar"), 0, 1)
    with pytest.raises(ValueError, match="a batch of 5 cannot be shared evenly by 2 processes"):
        draw(stream_of(shards), 0, 1, batch_size=5)


@pytest.mark.parametrize("buffer", [2000, 7])
def test_rows_of_one_picture_in_a_buffer_are_one_picture(tmp_path: Path, buffer: int) -> None:
    """Five captions an image, side by side, as Flickr30k in shards; a buffer may end within an image."""
    rows = [{"jpg": picture(i // 5), "txt": f"a kite of {i % 5} number {i // 5}".encode()} for i in range(100)]
    write_shard(tmp_path / "0.tar", rows)
    stream = stream_of(tmp_path / "0.tar", buffer=buffer)
    found = [sample.captions for sample in stream]
    assert found == [[f"a kite of {k} number {n}" for k in range(5)] for n in range(20)]
    drawn = numbers(draw(stream, 0, 4, batch_size=5))
    if buffer == 2000:
        assert sorted(drawn) == list(range(20)), "each once a pass"
    else:
        assert max(Counter(drawn).values()) <= 2, "parted at the end of a buffer at most"
    assert len({caption for batch in draw(stream, 0, 40, batch_size=5) for caption in batch.captions}) > 60


def test_a_pass_too_small_for_a_batch_is_told_and_repeats_nothing_within_one(tmp_path: Path) -> None:
    write_shard(tmp_path / "0.tar", [sample(i) for i in range(11)])
    with pytest.raises(ValueError, match="gives 11 images, which are too few .* take a smaller batch_size"):
        draw(stream_of(tmp_path / "0.tar"), 0, 1, batch_size=12)
    assert len(draw(stream_of(tmp_path / "0.tar"), 0, 5, batch_size=11)) == 5


def test_shards_have_no_splits(shards: Path) -> None:
    with pytest.raises(ValueError, match="tar shards have no splits, so there is no 'test' in .*shards; give"):
        open_captioned(shards, 8, "test")
    assert len(open_captioned(shards, 8, "train").shards) == 6
    with pytest.raises(ValueError, match="no 'dev' in"):
        open_validation(shards, 8, "dev")


def test_texts_of_shards_in_another_encoding_are_skipped_and_said(tmp_path: Path) -> None:
    samples = [sample(i) for i in range(30)]
    samples[4]["txt"] = "ein Schloß".encode("cp1252")
    samples[5]["txt"] = "\ufeffein Schloß, number 5".encode()
    write_shard(tmp_path / "0.tar", samples)
    stream = stream_of(tmp_path / "0.tar")
    found = [s.captions for s in stream]
    assert found[4] == ["ein Schloß, number 5"] and len(found) == 29
    said = stream.skipped.report()
    assert "1 with a caption that is not in UTF-8" in said and "'ein Schloß'" in said


# Going on

@pytest.mark.parametrize(("num_workers", "stop"), [(0, 1), (0, 7), (0, 20), (2, 7)])
def test_a_resumed_stream_repeats_nothing_and_misses_nothing(
        shards: Path, tmp_path: Path, num_workers: int, stop: int) -> None:
    whole = draw(stream_of(shards, num_workers), 0, 24, augmentation=PAPER)
    first = draw(stream_of(shards, num_workers), 0, stop, tmp_path, augmentation=PAPER)
    rest = draw(stream_of(shards, num_workers), stop, 24, tmp_path, augmentation=PAPER)
    assert numbers(first + rest) == numbers(whole)
    assert all(torch.equal(a.images, b.images) for a, b in zip(first + rest, whole, strict=True)), "crops, too"


def test_a_run_that_goes_back_to_its_checkpoint_draws_the_same_again(shards: Path, tmp_path: Path) -> None:
    whole = numbers(draw(stream_of(shards, 2), 0, 20))
    draw(stream_of(shards, 2), 0, 15, tmp_path)             # ... and breaks; the checkpoint was after step 9
    assert numbers(draw(stream_of(shards, 2), 9, 13, tmp_path)) == whole[9 * 4:13 * 4]
    with open(tmp_path / "stream-0.jsonl", "a", encoding="utf-8") as file:
        file.write('{"step": 14, "wor')                     # a line that was cut off
    assert numbers(draw(stream_of(shards, 2), 11, 20, tmp_path)) == whole[11 * 4:]


def test_with_other_workers_a_new_pass_begins(shards: Path, tmp_path: Path) -> None:
    """Then samples come again: each at most once, and none is missed in the new pass."""
    first = numbers(draw(stream_of(shards, 2), 0, 7, tmp_path))
    with pytest.warns(UserWarning, match="a new pass begins"):
        rest = numbers(draw(stream_of(shards, 0), 7, 7 + 18, tmp_path))
    assert sorted(rest) == list(range(72))
    assert max(Counter(first + rest).values()) == 2
    again = numbers(draw(stream_of(shards, 0), 20, 25, tmp_path))
    assert again == rest[13 * 4:], "and that one goes on exactly"


def test_training_on_a_stream_goes_on_bit_by_bit(shards: Path, tmp_path: Path, make_model) -> None:
    config = TrainConfig(steps=8, batch_size=6, warmup=2, num_prompts=2, precision="fp32", eval_every=0, save_every=3,
                         snapshot_every=0, augmentation=Augmentation(crop=0.3))

    class Break(Exception):
        pass

    class Breaking(Recorder):
        def due(self, done: int) -> set[str]:
            if done == 5:                  # two steps after the last checkpoint
                raise Break
            return super().due(done)

    def run(folder: str, kind: type[Recorder]):
        data = stream_of(shards, num_workers=2, image_size=16)
        return train(make_model(drop_path=0.1), data, config, kind(tmp_path / folder, config, progress=False))

    straight = run("straight", Recorder).state_dict()
    with pytest.raises(Break):
        run("broken", Breaking)
    resumed = run("broken", Recorder).state_dict()
    assert [name for name, value in straight.items() if not torch.equal(value, resumed[name])] == []


# Samples of no use

def test_samples_of_no_use_are_skipped_and_counted(tmp_path: Path) -> None:
    samples = [sample(i) for i in range(40)]
    samples[3]["jpg"] = samples[3]["jpg"][:60]
    samples[8]["txt"] = b"  \n"
    del samples[9]["txt"], samples[20]["jpg"]
    write_shard(tmp_path / "0.tar", samples)
    stream = stream_of(tmp_path / "0.tar")
    found = numbers(draw(stream, 0, 9))
    assert sorted(found) == [i for i in range(40) if i not in (3, 8, 9, 20)]
    reasons = stream.skipped.reasons
    assert reasons == {"an image that cannot be read": 1, "no caption": 2, "no image": 1}
    assert stream.skipped.seen == 40
    assert any(f"0.tar, 00000000{key})" in stream.skipped.report() for key in (8, 9))
    assert len(stream.all_captions) == 38 and len(list(stream)) == 36


def test_too_many_of_no_use_stop_the_run(tmp_path: Path) -> None:
    write_shard(tmp_path / "0.tar", [{"txt": b"a boat"} if i % 2 else sample(i) for i in range(40)])
    with pytest.raises(ValueError, match="with no image .* More than 5% is too much"):
        draw(stream_of(tmp_path / "0.tar"), 0, 30)
    write_shard(tmp_path / "1.tar", [{"jpg": b"broken %d" % i, "txt": b"a boat"} for i in range(5)])
    with pytest.raises(ValueError, match="a whole pass over a worker's shards had nothing to give; skipped 5 of 5"):
        draw(stream_of(tmp_path / "1.tar", num_workers=1), 0, 30)


def test_a_shard_that_breaks_off_gives_what_it_has(shards: Path) -> None:
    whole = (shards / "00002.tar").read_bytes()
    (shards / "00002.tar").write_bytes(whole[:len(whole) // 2])
    stream = stream_of(shards, num_workers=2)
    found = set(numbers(draw(stream, 0, 30)))
    missing = set(range(72)) - found
    assert missing and missing < set(range(24, 36))
    assert stream.skipped.reasons == {"a shard that is cut off": 1}, "told once, not in every pass"
    assert len(list(stream)) == len(stream.all_captions) == 72 - len(missing)
    whole = (shards / "00004.tar").read_bytes()
    (shards / "00004.tar").write_bytes(whole[:len(whole) // 2])
    with pytest.raises(ValueError, match="2 of 6 shards are cut off"):
        draw(stream_of(shards), 0, 30)


def test_a_buffer_below_one(shards: Path) -> None:
    with pytest.raises(ValueError, match="buffer is 0"):
        stream_of(shards, buffer=0)


# Other places

def test_shards_at_an_address(shards: Path) -> None:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(shards)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        place = f"http://127.0.0.1:{server.server_port}"
        stream = open_captioned(place + "/{00000..00005}.tar", 8, num_workers=0)
        assert sorted(numbers(draw(stream, 0, 18))) == list(range(72))
        with pytest.raises(ValueError, match="cannot read the shard .*00009.tar.*404"):
            open_captioned(place + "/00009.tar", 8)
    finally:
        server.shutdown()


@pytest.fixture
def parquet(tmp_path: Path, monkeypatch) -> Path:
    """A data set as on the hub, in five files."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "parquet"
    folder.mkdir()
    features = datasets.Features({"image": datasets.Image(), "caption": [datasets.Value("string")]})
    for part in range(5):
        rows = {"image": [{"bytes": picture(part * 8 + i), "path": None} for i in range(8)],
                "caption": [[f"a boat number {part * 8 + i}"] for i in range(8)]}
        datasets.Dataset.from_dict(rows, features).to_parquet(folder / f"train-{part:05d}-of-00005.parquet")
    datasets.Dataset.from_dict(rows, features).to_parquet(folder / "validation-00000-of-00001.parquet")
    return folder


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_data_set_of_the_hub_as_a_stream(parquet: Path, tmp_path: Path, num_workers: int) -> None:
    def opened() -> CaptionedStream:
        return open_captioned(parquet, 8, cache="stream", num_workers=num_workers, buffer=6)

    stream = opened()
    assert isinstance(stream.shards, HubShards) and len(stream.shards) == 5
    whole = numbers(draw(stream, 0, 30))
    assert num_workers or sorted(whole[:40]) == list(range(40))
    draw(opened(), 0, 13, tmp_path)
    assert numbers(draw(opened(), 13, 30, tmp_path)) == whole[13 * 4:]
    assert set(whole) == set(range(40))


def test_a_stream_names_the_columns_there_are(parquet: Path) -> None:
    with pytest.raises(ValueError, match="no column 'says'; the data set has image, caption"):
        open_captioned(parquet, 8, captions=["says"], cache="stream")
    with pytest.raises(ValueError, match="cache is 'ram'; choose one of memory, disk, stream"):
        open_captioned(parquet, 8, cache="ram")


def test_a_file_of_a_stream_that_is_cut_off(parquet: Path) -> None:
    file = parquet / "train-00003-of-00005.parquet"
    file.write_bytes(file.read_bytes()[:300])
    stream = open_captioned(parquet, 8, cache="stream", num_workers=0)
    assert set(numbers(draw(stream, 0, 20))) == set(range(40)) - set(range(24, 32))
    assert stream.skipped.reasons == {"a shard that is cut off": 1}


@pytest.mark.parametrize("cache", ["memory", "disk", "stream"])
def test_all_ways_give_the_same_samples(parquet: Path, cache: str) -> None:
    data = open_captioned(parquet, 8, cache=cache, num_workers=0)
    found = {s.captions[0]: s.image for s in data}
    expected = {s.captions[0]: s.image for s in open_captioned(parquet, 8)}
    assert found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in found)
    validation = open_validation(parquet, 8, cache=cache, limit=3)
    assert validation.all_captions == [f"a boat number {i}" for i in (32, 33, 34)]


def test_tar_shards_are_what_open_captioned_makes_of_a_folder_of_them(shards: Path) -> None:
    stream = open_captioned(shards, 8)
    assert isinstance(stream, CaptionedStream) and isinstance(stream.shards, TarShards)
    assert stream.first_pictures(3).shape == (3, 3, 8, 8)
