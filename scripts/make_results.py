"""Measures the shipped weights again and writes what the README shows: the figure and the table.

    python scripts/make_results.py            measure, then write
    python scripts/make_results.py --table    only write the table again from results/scenes.json

Writes results/scenes.json (the demo's metrics and where they come from), docs/figure.png, and the
lines of README.md between the two marks.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results" / "scenes.json"
README = ROOT / "README.md"
BEGIN, END = "<!-- scripts/make_results.py writes from here -->\n", "<!-- to here -->\n"
ROWS = {
    "scenes": "**`scenes`**, one stage, soft assignment, no residual",
    "scenes_groupvit": "`scenes_groupvit`, two blocks, two stages, a block between them, hard assignment",
    "scenes_short": "`scenes_short`, what `make train` makes in a quarter of an hour",
    "scenes_projected": "`scenes_projected`, the same as `scenes_short` with the paper's residual",
}


def measure() -> dict[str, Any]:
    """Runs the demo, keeps its figure, and returns its metrics with their origin."""
    from make_weights import write_record

    from minigroupvit.checkpoint import load
    from minigroupvit.demo import run_demo
    from minigroupvit.evaluation.instances import evaluate_instances
    from minigroupvit.training.record import current_commit, device_name

    with tempfile.TemporaryDirectory() as folder:
        metrics = run_demo(folder, num_others=1000, num_few=300)
        (ROOT / "docs").mkdir(exist_ok=True)
        shutil.copy(Path(folder) / "figure.png", ROOT / "docs" / "figure.png")
    record = {"command": "python scripts/make_results.py", "commit": current_commit(), "seed": 0,
              "device": device_name(), "date": datetime.date.today().isoformat(), **metrics,
              "instances": evaluate_instances(load("scenes"))}
    write_record(RESULTS, record)
    return record


def table(record: dict[str, Any]) -> str:
    """The table of the README, from results/scenes.json and the records beside the weights."""
    def percent(value: float | None) -> str:
        return "–" if value is None else f"{100 * value:.1f}"

    def row(name: str, cost: str, figures: dict[str, Any]) -> str:
        keys = ("miou", "miou_objects", "oracle_miou", "naming", "recognition_ap")
        return f"| {name} | {cost} | " + " | ".join(percent(figures.get(key)) for key in keys) + " |"

    lines = ["| on 1,000 test scenes, in percent | cost | mIoU | objects | oracle | naming | recognition |",
             "|---|---|---|---|---|---|---|"]
    for name, about in ROWS.items():
        path = ROOT / "data" / "weights" / f"{name}.json"
        if path.exists():
            stored = json.loads(path.read_text(encoding="utf-8"))
            figures = record if name == "scenes" else stored["test"]
            lines.append(row(about, _cost(stored), figures))
            if name == "scenes":
                lines.append(row("the same weights, read out as released", "", stored["test_read_out_as_released"]))
    vit = json.loads((ROOT / "data" / "weights" / "scenes_clip_vit.json").read_text(encoding="utf-8"))
    lines.append(row("`scenes_clip_vit`, three blocks without groups, patch by patch", _cost(vit),
                     record["pixelwise"]))
    lines.append(row("the colour of each pixel, learnt **with masks**", "seconds", record["colour_classifier"]))
    lines += ["", f"Measured {record['date']} by `{record['command']}`. 95 % intervals of `scenes`: mIoU "
              + ", ".join(f"{name} {' to '.join(map(percent, record[key + '_interval']))}" for key, name in (
                  ("miou", "of all classes"), ("miou_objects", "of objects"))) + "; of `scenes_groupvit`: "
              + ", ".join(f"{name} {' to '.join(map(percent, record['groupvit'][key + '_interval']))}"
                          for key, name in (("miou", "of all classes"), ("miou_objects", "of objects")))
              + f". Its second stage uses {record['groupvit']['segments_used_per_stage'][-1]:.1f} groups a picture "
              "that hold 2 % of the pixels or more. "
              f"`scenes_clip_vit` had {vit['step']:,} steps of the image-text loss alone, in which it hardly learnt an "
              "object: it is no fair rival yet. With drawings never seen in training "
              f"`scenes` reaches {percent(record['unseen']['miou'])} ({percent(record['unseen']['miou_objects'])} on "
              f"objects), the colour of each pixel "
              f"{percent(record['unseen']['colour_classifier']['miou_objects'])} on objects.", "",
              _instances(record["instances"], percent), "", _goes_by(record, percent), "",
              _ceiling(percent), ""]
    return "\n".join(lines)


def _with_interval(metrics: dict[str, Any], key: str, percent: Callable[[float], str]) -> str:
    """A metric and its 95 % interval."""
    return f"{percent(metrics[key])} [{', '.join(map(percent, metrics[key + '_interval']))}]"


def _goes_by(record: dict[str, Any], percent: Callable[[float], str]) -> str:
    """Interventions and controls of the models with groups, in two sentences for each."""
    clusters = [c for c in record["controls"] if c["per_picture"]]
    best = max(clusters, key=lambda c: c["ari"])
    lines = ["What a model goes by, shown by interventions on lone, coloured objects that it names right. So many keep "
             "their name (95 % interval):", "",
             "| in percent | objects | right before | hue + 180° | grey | a disc of its colour | other background | "
             "outside replaced |", "|---|---|---|---|---|---|---|---|"]
    names = ("hue_180", "grey", "disc", "background", "outside")
    for model, part in (("scenes", record), ("scenes_groupvit", record["groupvit"])):
        found = part["interventions"]
        kept = [_with_interval(found[name], "class_kept", percent) for name in names]
        lines.append(f"| `{model}` | {found['grey']['num_objects']} | {percent(found['grey']['right_before'])} | "
                     + " | ".join(kept) + " |")
    lines += ["", f"ARI of the groups on {record['num_controls']} of the scenes: `scenes` "
              f"{_with_interval(record, 'controls_model_ari', percent)}, `scenes_groupvit` "
              f"{_with_interval(record['groupvit'], 'controls_model_ari', percent)}; without captions k-means of "
              "colours has "
              + ", ".join(f"{_with_interval(c, 'ari', percent)} ({c['method']}, K = {c['clusters']})" for c in clusters
                          if c is best or c["clusters"] == 4) + "."]
    return "\n".join(lines)


def _ceiling(percent: Callable[[float], str]) -> str:
    """What a classifier with labels reaches, in a sentence."""
    found = json.loads((ROOT / "results" / "ceiling.json").read_text(encoding="utf-8"))
    return (f"How much shape is there to learn? A small classifier that is trained **with labels** on grey cut-outs "
            f"names {_with_interval(found['test'], 'accuracy', percent)} % of the objects, and "
            f"{_with_interval(found['unseen'], 'accuracy', percent)} % of those in drawings that it never saw "
            f"(chance: {percent(found['chance'])} %; `{found['command']}`).")


def _instances(figures: dict[str, Any], percent: Callable[[float], str]) -> str:
    """Mask AP in a sentence."""
    def both(part: str) -> str:
        true = percent(figures["true_masks"][part]["ap"])
        return f"{percent(figures[part]['ap'])} (pieces of the true masks: {true})"

    return (f"Instances are pieces of a class's mask. Mask AP on the objects of {figures['num_images']} test scenes: "
            f"{both('all')}; AP at IoU 0.5: {percent(figures['all']['ap50'])}. Where no twins touch "
            f"{both('without_touching_twins')}, where they do {both('touching_twins')}: touching things of one class "
            "are one piece, and no group tells them apart.")


def _cost(stored: dict[str, Any]) -> str:
    return f"{stored['parameters'] / 1e6:.1f} M parameters, {stored['seconds'] / 60:.0f} min, {stored['device']}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="write the table again without measuring")
    only_table = parser.parse_args().table
    record = json.loads(RESULTS.read_text(encoding="utf-8")) if only_table else measure()
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END, maxsplit=1)[1]
    README.write_text(before + BEGIN + table(record) + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
