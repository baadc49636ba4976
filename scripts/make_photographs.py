"""Trains on the photographs of Flickr8k from their captions and measures what came of it.

    python scripts/make_photographs.py --data FOLDER [photographs photographs_projected ...]
    python scripts/make_photographs.py --data FOLDER --compare
    python scripts/make_photographs.py --table

FOLDER holds, as folders, `flickr8k-128` (parquet files with the columns of jxie/flickr8k, split into
train, validation, test), `voc2012-animals` (VOCdevkit/VOC2012 as torchvision has it) and `coco128-seg`
(images/, masks/, classes.txt). Trains each recipe in outputs/photographs/NAME (a run that was stopped goes
on), as

    python -m minigroupvit train --recipe NAME --data FOLDER/flickr8k-128 --out outputs/photographs/NAME

does; chooses the inference options on coco128-seg in VOC's class names, and never on what is reported; and writes

    data/photographs/NAME.safetensors, .json, .log.jsonl    the model, where it comes from, its log
    results/photographs.json                            retrieval on the test images; masks and groups on VOC;
                                                        the same of models that were not trained, and of partitions
                                                        that need no model; how much better a model is than each
                                                        partition, image by image, with 95 % intervals

and the tables of results/README.md. `--compare` makes only the differences again, with the stored models and without
training; where `voc2012-animals` has more images than the published ones, whose names are in the record, it compares
on both. `--table` only writes the table. No image of the data sets is written anywhere.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from make_weights import store, write_record

from minigroupvit.checkpoints.describe import protocol_from_dict
from minigroupvit.checkpoints.native import load_checkpoint
from minigroupvit.data.captioned.batches import CaptionedImages
from minigroupvit.data.captioned.open import open_captioned
from minigroupvit.data.mask_sets import MaskFiles, open_masks
from minigroupvit.evaluation.controls import Partition, colour_clusters, evaluate_partition, rings, tiles
from minigroupvit.evaluation.evaluate import Evaluation, background_share, evaluate
from minigroupvit.evaluation.image_level import chance_recall, evaluate_retrieval
from minigroupvit.model import GroupViT
from minigroupvit.segmentation.options import BACKGROUND, PROTOCOLS, InferenceOptions
from minigroupvit.training.recipes import RECIPES, recipe
from minigroupvit.training.record import current_commit, device_name
from minigroupvit.training.run import build_model, train_on_dataset

NAMES = [name for name in RECIPES if name.startswith("photographs") and name != "photographs_gpu"]   # of Flickr8k
ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE = ROOT / "results" / "photographs.json", ROOT / "results" / "README.md"
BEGIN, END = "<!-- scripts/make_photographs.py writes from here -->\n", "<!-- to here -->\n"

# The inference options are chosen field by field, in this order.
CHOICES: dict[str, tuple] = {
    "background_threshold": (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 0.95),
    "overlap": (1, 2, 4),
    "pixels": ("largest", "shared"),
    "top_classes": (1, 2, 3, 5, 10, None),
    "balance": (None, 0.03, 0.1, 0.3),
}
# What VOC calls otherwise than COCO.
VOC_WORDS = {"airplane": "aeroplane", "motorcycle": "motorbike", "dining table": "table", "potted plant": "plant",
             "couch": "sofa", "tv": "monitor"}
# The metrics that are kept of an evaluation; the IoU of each class beside them.
KEPT = ("miou", "miou_objects", "background_share", "oracle_miou", "oracle_miou_objects", "naming", "probing_jaccard",
        "ari", "groups_used", "assignment_entropy", "num_images", "iou_per_class")
# What needs no training, and what results/README.md calls it.
PARTITIONS: dict[str, tuple[Partition, str]] = {
    "tiles": (tiles(2, 4), "8 tiles"),
    "colour_clusters": (colour_clusters(8), "K-means on colours, 8 clusters"),
    "colour_and_place_clusters": (colour_clusters(8, position=50), "K-means on colours and places, 8 clusters"),
    "middle_and_border": (rings(2), "middle and border, two segments"),
    "rings": (rings(8), "8 rings around the middle"),
}


def own_size(protocol: InferenceOptions, model: GroupViT) -> InferenceOptions:
    """A released protocol with windows as large as the images that the model was trained on."""
    return replace(protocol, short_side=model.config.image.image_size, window=None, stride=None)


def whole(model: GroupViT) -> InferenceOptions:
    """The image as a whole, its shorter side as long as in training."""
    return InferenceOptions(short_side=model.config.image.image_size, mode="whole", templates=model.protocol.templates)


def in_words(masks: MaskFiles, class_names: tuple[str, ...]) -> MaskFiles:
    """The same images with these class names alone: what is none of them is background."""
    words = [VOC_WORDS.get(name, name) for name in masks.class_names]
    place = {i: class_names.index(word) if word in class_names else BACKGROUND for i, word in enumerate(words)}
    return replace(masks, class_names=class_names,
                   meanings={number: place.get(meaning, meaning) for number, meaning in masks.meanings.items()})


def choose(model: GroupViT, masks: MaskFiles) -> tuple[InferenceOptions, dict[str, dict[str, float]]]:
    """The inference options with the highest mIoU, one field after the other, and the mIoU of each that was tried."""
    protocol, record = replace(whole(model), background_threshold=0.5), {}
    for field, values in CHOICES.items():
        tried = {value: evaluate(model, masks, replace(protocol, **{field: value}), ()).metrics["miou"]
                 for value in values}
        protocol = replace(protocol, **{field: max(tried, key=tried.get)})
        record[field] = {str(value): miou for value, miou in tried.items()}
    return protocol, record


def measure(model: GroupViT, test: CaptionedImages, voc: MaskFiles, ways: dict[str, InferenceOptions]) -> dict[str, Any]:
    """Retrieval of the test images; masks of VOC by several inference options."""
    measured: dict[str, Any] = {"retrieval": evaluate_retrieval(model, test)}
    for name, protocol in ways.items():
        protocol = replace(protocol, templates=model.protocol.templates)
        metrics = ("oracle", "probing", "groups") if name == "chosen" else ("oracle",)
        found = evaluate(model, voc, protocol, metrics)
        measured[name] = {key: found.metrics[key] for key in KEPT if key in found.metrics} | {
            "protocol": asdict(found.protocol)}
    return measured


def without_a_model(train: CaptionedImages, test: CaptionedImages, voc: MaskFiles) -> dict[str, Any]:
    """What there is to beat: chance, and partitions that need no training. How often captions have VOC's class names."""
    owner = torch.tensor([number for number, own in enumerate(test.captions) for _ in own])
    return {"chance": chance_recall(owner),
            "cuts": {name: evaluate_partition(partition, voc).metrics for name, (partition, _) in PARTITIONS.items()},
            "captions_with_word": counts(train, list(voc.class_names)), "num_captions": len(train.all_captions)}


def origin() -> dict[str, Any]:
    """Where measurements of today come from."""
    return {"commit": current_commit(), "device": device_name(), "seed": 0, "date": datetime.date.today().isoformat()}


def published(voc: MaskFiles, record: dict[str, Any]) -> MaskFiles:
    """The images that the metrics in the record are of; all where it does not say.

    Raises ValueError if one is gone.
    """
    pairs = dict(zip(voc.names, voc.pairs))
    names = record.get("pictures", list(pairs))
    missing = [name for name in names if name not in pairs]
    if missing:
        raise ValueError(f"{len(missing)} of the {len(names)} images of {RESULTS.name}, such as {missing[0]}, are "
                         "not in the val.txt of voc2012-animals; without them its metrics cannot be measured again")
    return replace(voc, pairs=tuple(pairs[name] for name in names))


def differences(judged: dict[str, Evaluation], models: list[str], sets: list[list[str]]) -> list[dict[str, Any]]:
    """By how much each model is better than each partition, and than the first model, on each set of images."""
    pairs = [(name, other) for name in models for other in [*PARTITIONS, models[0]] if other in judged and other != name]
    return [{"model": name, "against": other} | judged[name].only(names).minus(judged[other].only(names))
            for names in sets for name, other in pairs]


def compare(record: dict[str, Any], voc: MaskFiles, weights: Path) -> None:
    """Evaluates the stored models and the partitions on the same images and writes their differences into the record."""
    record["pictures"] = names = list(published(voc, record).names)
    judged = {name: evaluate_partition(partition, voc) for name, (partition, _) in PARTITIONS.items()}
    for name in record["models"]:
        measured = record["models"][name]
        for state in ("trained", "untrained"):
            measured[state]["chosen"]["background_share"] = background_share(measured[state]["chosen"]["iou_per_class"])
        judged[name] = evaluate(load_checkpoint(weights / f"{name}.safetensors"), voc,
                                protocol_from_dict(measured["trained"]["chosen"]["protocol"]), ("oracle", "groups"))
    sets = [names] if len(names) == len(voc) else [names, list(voc.names)]
    models = [name for name in NAMES if name in record["models"]]
    record["comparisons"] = {"command": "python scripts/make_photographs.py --data FOLDER --compare", **origin(),
                             "differences": differences(judged, models, sets)}


def counts(data: CaptionedImages, names: list[str]) -> dict[str, int]:
    """In how many captions each class name stands, alone or with an s."""
    return {name: sum(re.search(rf"\b{name}s?\b", text.lower()) is not None for text in data.all_captions)
            for name in names}


def table(record: dict[str, Any]) -> str:
    """The tables of results/README.md: what was learnt from photographs, what there is to beat, and by how much it is beaten."""
    def row(name: str, retrieval: dict[str, float], masks: dict[str, float]) -> str:
        values = [*(retrieval.get(f"{way}_recall_{k}") for way in ("image_to_text", "text_to_image") for k in (1, 5, 10)),
                  *(masks.get(key) for key in ("ari", "oracle_miou", "miou", "background_share"))]
        return f"| {name} | " + " | ".join("–" if v is None else f"{100 * v:.1f}" for v in values) + " |"

    models = record["models"]
    first = models["photographs"]
    lines = ["| in percent | I→T R@1 | I→T R@5 | I→T R@10 | T→I R@1 | T→I R@5 | T→I R@10 "
             "| ARI | oracle | mIoU | of it background |",
             "|---|" + "---|" * 10,
             row("chance", record["beside"]["chance"], {"ari": 0.0}),
             *(row(about, {}, record["beside"]["cuts"][name]) for name, (_, about) in PARTITIONS.items()),
             *(row(f"`{name}` untrained", models[name]["untrained"]["retrieval"], models[name]["untrained"]["chosen"])
               for name in NAMES if name in models),
             *(row(f"`{name}`", models[name]["trained"]["retrieval"], models[name]["trained"]["chosen"])
               for name in NAMES if name in models)]
    minutes = ", ".join(f"{models[name]['seconds'] / 60:.0f}" for name in NAMES if name in models)
    return "\n".join(lines) + (
        f"\n\nMeasured {record['date']} by `{record['command']}`; trained in {minutes} minutes on one busy core each. I→T: "
        "image to text among 5,000 captions; T→I: text to image among 1,000 test images. Groups and masks on "
        f"{first['trained']['chosen']['num_images']} photographs of VOC 2012, "
        f"{len(first['trained']['chosen']['iou_per_class']) - 1} classes and background.\n\n"
        f"{difference_table(record)}\n")


def difference_table(record: dict[str, Any]) -> str:
    """The table of the differences in pairs."""
    compared = record["comparisons"]
    columns = [("ari", "colour_clusters", "ARI less K-means on colours"),
               ("ari", "middle_and_border", "ARI less middle and border"),
               ("oracle_miou", "colour_clusters", "oracle less K-means on colours"),
               ("oracle_miou", "tiles", "oracle less 8 tiles")]
    lines = ["| in percent | images | " + " | ".join(heading for *_, heading in columns) + " |",
             "|---|---|" + "---|" * len(columns)]
    found = {(one["num_images"], one["model"], one["against"]): one for one in compared["differences"]}
    for num_images, name in dict.fromkeys((num_images, name) for num_images, name, _ in found):
        cells = [in_percent(found[num_images, name, other], key) for key, other, _ in columns]
        lines.append(f"| `{name}` | {num_images} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + (
        "\n\nDifferences on the same images with 95 % intervals, by drawing images in pairs "
        f"(`{compared['command']}`, {compared['date']}): an interval that holds 0 does not tell which of the two is "
        "better.")


def in_percent(found: dict[str, Any], key: str) -> str:
    """A difference with its sign and its interval."""
    low, high = (f"{100 * value:.1f}" for value in found[f"{key}_difference_interval"])
    return f"{100 * found[f'{key}_difference']:+.1f} [{low}, {high}]".replace("-", "−")


def write_table(record: dict[str, Any]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    PAGE.write_text(before + BEGIN + table(record) + END + rest.split(END, maxsplit=1)[1], encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES, help=f"of {', '.join(NAMES)}; all if none is given")
    parser.add_argument("--data", type=Path, help="the folder of the three data sets")
    parser.add_argument("--compare", action="store_true", help="compare the stored models with the partitions; no training")
    parser.add_argument("--table", action="store_true", help="write the table again without measuring")
    parser.add_argument("--runs", type=Path, default=Path("outputs/photographs"))
    parser.add_argument("--out", type=Path, default=Path("data/photographs"))
    parser.add_argument("--device", default=None, help="cuda or cpu; found out if not given")
    parser.add_argument("--threads", type=int, default=None, help="of the CPU; all if not given")
    arguments = parser.parse_args()
    if arguments.table:
        return write_table(json.loads(RESULTS.read_text(encoding="utf-8")))
    if arguments.data is None:
        parser.error("--data FOLDER is missing: the folder of flickr8k-128, voc2012-animals and coco128-seg")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    voc = open_masks("voc2012", arguments.data / "voc2012-animals").occurring()
    if arguments.compare:
        record = json.loads(RESULTS.read_text(encoding="utf-8"))
        compare(record, voc, arguments.out)
        write_record(RESULTS, record)
        return write_table(record)
    captions = str(arguments.data / "flickr8k-128")
    size = recipe(arguments.names[0]).model.image.image_size
    train, validation, test = (open_captioned(captions, size, split) for split in ("train", "validation", "test"))
    record = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"models": {}}
    record |= {"command": "python scripts/make_photographs.py --data FOLDER", **origin()}
    shown = published(voc, record).occurring()
    coco = in_words(open_masks("folder", arguments.data / "coco128-seg"), shown.class_names)
    record["beside"] = beside = without_a_model(train, test, shown)
    for name in arguments.names:
        run = arguments.runs / name
        train_on_dataset(recipe(name), train, run, validation=validation, device=arguments.device,
                         progress=sys.stderr.isatty())
        model = load_checkpoint(run / "best.safetensors")
        protocol, tried = choose(model, coco)
        # What is background in VOC need not be in anyone's own images: the model is stored as its recipe says.
        model.protocol = replace(recipe(name).protocol, templates=model.protocol.templates)
        model, about = store(name, run, arguments.out, model)
        fresh = build_model(recipe(name), train).eval()
        chosen, released = {"chosen": protocol}, PROTOCOLS["voc2012"]
        measured = {"trained": measure(model, test, shown, chosen | {
                        "released_at_own_size": own_size(released, model), "released": released}),
                    "untrained": measure(fresh, test, shown, chosen)}
        record["models"][name] = {"parameters": about["parameters"], "seconds": about["seconds"]} | measured
        write_record(RESULTS, record)
        write_record(arguments.out / f"{name}.json", about | {
            "command": f"python scripts/make_photographs.py --data FOLDER {name}", "num_pictures": len(train),
            "coco128_miou": tried, **measured, "beside": beside})
        found = measured["trained"]["chosen"]
        print(f"{name}: mIoU {found['miou']:.3f}, ARI {found['ari']:.3f}", flush=True)
    compare(record, voc, arguments.out)
    write_record(RESULTS, record)
    write_table(record)


if __name__ == "__main__":
    main()
