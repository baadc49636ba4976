"""Measures the shipped weights again and writes what README.md and results/README.md show: the figure and the tables.

    python scripts/make_results.py            measure, then write
    python scripts/make_results.py --table    only write the table again from results/scenes.json

Writes results/scenes.json (the demo's metrics and where they come from), docs/figure.png, and the
lines of both pages between the two marks.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results" / "scenes.json"
PAGE, README = ROOT / "results" / "README.md", ROOT / "README.md"
BEGIN, END = "<!-- scripts/make_results.py writes from here -->\n", "<!-- to here -->\n"
ROWS = {
    "scenes": "**`scenes`**, one stage, soft assignment, no residual",
    "scenes_groupvit": "`scenes_groupvit`, two blocks, two stages, a block between them, hard assignment",
    "scenes_short": "`scenes_short`, what `make train` makes in a quarter of an hour",
    "scenes_projected": "`scenes_projected`, the same as `scenes` with the paper's residual",
}


def measure() -> dict[str, Any]:
    """Runs the demo, keeps its figure, and returns its metrics with their origin."""
    from make_weights import write_record

    from minigroupvit.checkpoints.native import load
    from minigroupvit.demo import run_demo
    from minigroupvit.evaluation.instances import evaluate_instances
    from minigroupvit.training.record import current_commit, device_name

    with tempfile.TemporaryDirectory() as folder:
        metrics = run_demo(folder, num_images=1000, num_others=1000, num_few=300)
        (ROOT / "docs").mkdir(exist_ok=True)
        shutil.copy(Path(folder) / "figure.png", ROOT / "docs" / "figure.png")
    record = {"command": "python scripts/make_results.py", "commit": current_commit(), "seed": 0,
              "device": device_name(), "date": datetime.date.today().isoformat(), **metrics,
              "instances": evaluate_instances(load("scenes"))}
    write_record(RESULTS, record)
    return record


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def stored(name: str) -> dict[str, Any]:
    """The record beside shipped weights."""
    return json.loads((ROOT / "data" / "weights" / f"{name}.json").read_text(encoding="utf-8"))


def summary(record: dict[str, Any]) -> str:
    """The one table of the README: models beside what needs no captions."""
    columns = ("miou", "miou_objects", "recognition_ap", "ari")
    best = max((c for c in record["controls"] if c["per_picture"]), key=lambda c: c["ari"])
    rows = {"**`scenes`**: one stage, soft assignment": record,
            "the same without refinement of the edges": stored("scenes")["test_unrefined"],
            "**`scenes_groupvit`**: the paper's architecture, two stages, hard assignment": record["groupvit"],
            "`scenes_short`: what `make train` makes in 15 minutes": stored("scenes_short")["test"],
            "`scenes_clip_vit`: a ViT without groups, patch by patch": record["pixelwise"],
            "colour of the pixel, learnt *with masks*": record["colour_classifier"],
            f"k-means of colours, best K ({best['clusters']}), 300 scenes": {"ari": best["ari"]}}
    return "\n".join(["| 1,000 test scenes, in percent | mIoU | mIoU of objects | recognition AP | ARI of the groups |",
                      "|---|---|---|---|---|",
                      *(f"| {name} | " + " | ".join(percent(metrics.get(key)) for key in columns) + " |"
                        for name, metrics in rows.items()), "",
                      "With its hue turned by 180° an object keeps its name in {} %, as an outline in one "
                      "colour in {} %, as a disc in {} %: the model goes by drawing, not colour. ".format(*(
                          percent(record["interventions"][name]["class_kept"])
                          for name in ("hue_180", "silhouette", "disc"))) +
                      f"Objects in drawings never seen in training: mIoU {percent(record['unseen']['miou_objects'])}.",
                      "", tables_1_and_4(), ""])


def tables_1_and_4() -> str:
    """The paper's mIoU on photographs, and that of our rows of the budget cpu with its 95 % interval."""
    from minigroupvit.experiments.report import Results, in_percent
    from minigroupvit.experiments.rows import TABLES

    results = Results("cpu", ROOT / "results" / "tables")
    ours = {(table, name): values for table in ("table1", "table4") for name, values in results.judged(table).items()}
    paper = {(table, row.name): row.paper for table in ("table1", "table4") for row in TABLES[table].rows}
    lines = ["| mIoU (±95 %) | paper | here |", "|---|---|---|"]
    for about, *rows in (
            ("soft, hard assignment", ("table1", "soft"), ("table1", "hard")),
            ("with multi-label loss", ("table1", "soft, multi-label"), ("table1", "hard, multi-label")),
            ("both without residual", ("table1", "soft, multi-label, no residual"),
             ("table1", "hard, multi-label, no residual")),
            ("ViT, its k-means", ("table4", "pixel by pixel"), ("table4", "k-means")),
            ("GroupViT", ("table4", "GroupViT")),
            ("k-means of raw pixels, SLIC", ("table4", "k-means of raw pixels"), ("table4", "superpixels, SLIC"))):
        published = ", ".join("–" if paper[row] is None else f"{paper[row]:.1f}" for row in rows)
        lines.append(f"| {about} | {published} | {', '.join(in_percent(ours[row]) for row in rows).replace(' ± ', '±')} |")
    return "\n".join(lines)


def table(record: dict[str, Any]) -> str:
    """The tables of results/README.md, from results/scenes.json and the records beside the weights."""
    def row(name: str, cost: str, metrics: dict[str, Any]) -> str:
        keys = ("miou", "miou_objects", "oracle_miou", "naming", "recognition_ap", "ari")
        return f"| {name} | {cost} | " + " | ".join(percent(metrics.get(key)) for key in keys) + " |"

    lines = ["| 1,000 test scenes, in percent | cost | mIoU | objects | oracle | naming | recognition | ARI |",
             "|---|---|---|---|---|---|---|---|"]
    for name, about in ROWS.items():
        found = stored(name)
        lines.append(row(about, _cost(found), record if name == "scenes" else found["test"]))
        if name in ("scenes", "scenes_groupvit"):
            lines.append(row("the same without refinement of the edges", "", found["test_unrefined"]))
            lines.append(row("the same with the released inference protocol", "", found["test_read_out_as_released"]))
    vit = stored("scenes_clip_vit")
    lines.append(row("`scenes_clip_vit`, three blocks without groups, patch by patch", _cost(vit), record["pixelwise"]))
    lines.append(row("the colour of each pixel, learnt **with masks**", "seconds", record["colour_classifier"]))
    both = (("miou", "of all classes"), ("miou_objects", "of objects"))
    lines += ["", f"Measured {record['date']} by `{record['command']}`. 95 % intervals of `scenes`: mIoU "
              + ", ".join(f"{name} {' to '.join(map(percent, record[key + '_interval']))}" for key, name in both)
              + "; of `scenes_groupvit`: "
              + ", ".join(f"{name} {' to '.join(map(percent, record['groupvit'][key + '_interval']))}" for key, name in both)
              + f". Its second stage uses {record['groupvit']['segments_used_per_stage'][-1]:.1f} groups an image that hold "
              "2 % of the pixels or more. " + _blocks(record["groupvit"]["blocks"]) + " The best checkpoint of "
              f"`scenes_clip_vit` is that of step {vit['step']:,} of {vit['train_config']['steps']:,}. "
              "With drawings never seen in training `scenes` reaches "
              f"{percent(record['unseen']['miou'])} ({percent(record['unseen']['miou_objects'])} on objects), the colour of "
              f"each pixel {percent(record['unseen']['colour_classifier']['miou_objects'])} on objects.", "",
              _instances(record["instances"]), "", _goes_by(record), "", _ceiling(), ""]
    return "\n".join(lines)


def _with_interval(metrics: dict[str, Any], key: str) -> str:
    """A metric and its 95 % interval."""
    return f"{percent(metrics[key])} [{', '.join(map(percent, metrics[key + '_interval']))}]"


def _goes_by(record: dict[str, Any]) -> str:
    """Interventions and controls of the models with groups, in two sentences for each."""
    clusters = [c for c in record["controls"] if c["per_picture"]]
    best = max(clusters, key=lambda c: c["ari"])
    lines = ["What a model goes by, shown by interventions on lone, coloured objects that it names right. So many keep "
             "their name (95 % interval):", "",
             "| in percent | objects | right before | hue + 180° | grey | outline in one colour | disc of that colour | "
             "other background | outside replaced |", "|---|---|---|---|---|---|---|---|---|"]
    names = ("hue_180", "grey", "silhouette", "disc", "background", "outside")
    for model, part in (("scenes", record), ("scenes_groupvit", record["groupvit"])):
        found = part["interventions"]
        kept = [_with_interval(found[name], "class_kept") for name in names]
        lines.append(f"| `{model}` | {found['grey']['num_objects']} | {percent(found['grey']['right_before'])} | "
                     + " | ".join(kept) + " |")
    lines += ["", f"ARI of the groups on {record['num_controls']} of the scenes: `scenes` "
              f"{_with_interval(record, 'controls_model_ari')}, `scenes_groupvit` "
              f"{_with_interval(record['groupvit'], 'controls_model_ari')}; without captions k-means of colours has "
              + ", ".join(f"{_with_interval(c, 'ari')} ({c['method']}, K = {c['clusters']})" for c in clusters
                          if c is best or c["clusters"] == 4) + "."]
    # A record of before the paired differences has none.
    against = [(model, next(c for c in part["controls"] if all(c[key] == best[key] for key in ("method", "clusters"))))
               for model, part in (("scenes", record), ("scenes_groupvit", record["groupvit"])) if "controls" in part]
    if all("ari_difference" in control for _, control in against):
        lines[-1] += (" On the same scenes, " + ", ".join(
            f"`{model}` less k-means ({best['method']}, K = {best['clusters']}): "
            f"{_with_interval(control, 'ari_difference')}" for model, control in against) + ".")
    return "\n".join(lines)


def _ceiling() -> str:
    """What a classifier with labels reaches, in a sentence."""
    found = json.loads((ROOT / "results" / "ceiling.json").read_text(encoding="utf-8"))
    return (f"How much shape is there to learn? A small classifier that is trained **with labels** on grey crops of objects "
            f"names {_with_interval(found['test'], 'accuracy')} % of them, and "
            f"{_with_interval(found['unseen'], 'accuracy')} % of those in drawings that it never saw "
            f"(chance: {percent(found['chance'])} %; `{found['command']}`).")


def _blocks(found: dict[str, Any]) -> str:
    """What leaving the Transformer blocks out costs, in a sentence."""
    keys = {"miou": "mIoU", "miou_objects": "objects", "recognition_ap": "recognition", "ari": "ARI"}
    return (f"It needs its Transformer blocks: left out at evaluation, it has on {found['num_images']} scenes "
            + ", ".join(f"{name} {_with_interval(found['without'], key)} in place of {_with_interval(found['with'], key)}"
                        for key, name in keys.items()) + ".")


def _instances(metrics: dict[str, Any]) -> str:
    """Mask AP in a sentence."""
    def both(part: str) -> str:
        true = percent(metrics["true_masks"][part]["ap"])
        return f"{percent(metrics[part]['ap'])} (connected components of the true masks: {true})"

    return ("Instances are the connected components of a class's mask. Mask AP on the objects of "
            f"{metrics['num_images']} test scenes: {both('all')}; AP at IoU 0.5: {percent(metrics['all']['ap50'])}. "
            f"Where no twins touch {both('without_touching_twins')}, where they do {both('touching_twins')}: touching "
            "objects of one class are one component, and no group tells them apart.")


def _cost(stored: dict[str, Any]) -> str:
    return f"{stored['parameters'] / 1e6:.1f} M parameters, {stored['seconds'] / 60:.0f} min, {stored['device']}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="write the table again without measuring")
    only_table = parser.parse_args().table
    record = json.loads(RESULTS.read_text(encoding="utf-8")) if only_table else measure()
    for page, text in ((PAGE, table(record)), (README, summary(record))):
        before, rest = page.read_text(encoding="utf-8").split(BEGIN)
        page.write_text(before + BEGIN + text + END + rest.split(END, maxsplit=1)[1], encoding="utf-8")


if __name__ == "__main__":
    main()
