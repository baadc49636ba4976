"""The paper's tables in miniature: every row runs, is skipped, shared, continued; clusterings, probing, report."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import make_dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from filelock import FileLock
from safetensors import safe_open
from scipy import stats
from sklearn.metrics import adjusted_rand_score

from minigroupvit.cli import main
from minigroupvit.config import ImageConfig
from minigroupvit.data.scenes.config import SceneConfig
from minigroupvit.data.scenes.make import make_scene
from minigroupvit.evaluation.controls import superpixels
from minigroupvit.evaluation.groups import CLUSTERINGS, cluster_patches
from minigroupvit.experiments import measures, models, pretraining, runner
from minigroupvit.experiments.measures import Conditions, attention_masks, best_jaccard, name_segments
from minigroupvit.experiments.models import BUDGETS, digest, make_setup
from minigroupvit.experiments.pretraining import DINO, MaskTraining, MoCo, fit, mirror, views
from minigroupvit.experiments.report import Comparison, Results, compare, interval, make_report
from minigroupvit.experiments.rows import FAMILIES, HARD, MOCO, NAMES, REFERENCE, TABLES, Model, Row, Table
from minigroupvit.experiments.runner import Job, Runner, definition, jobs_of, run_tables, tables_of, tuning_jobs
from minigroupvit.extras import MissingExtra
from minigroupvit.image_encoder import ImageEncoder, ImageOutput
from minigroupvit.images import normalize
from minigroupvit.segmentation.options import InferenceOptions
from minigroupvit.training import loop
from minigroupvit.training.config import TrainConfig
from minigroupvit.training.loop import TrainingStopped

ONE = Job("table1", "the reference", REFERENCE, ("groups",), seed=5, lr=1e-3)
PRETRAINED = Job("table5", "MoCo v3", MOCO, ("finetuned",), seed=5, lr=1e-3)


@pytest.fixture(scope="module")
def everything(tmp_path_factory) -> Runner:
    """All tables with one seed at the smallest budget."""
    folder = tmp_path_factory.mktemp("tables")
    run_tables(["all"], 1, "tiny", folder / "results", folder / "work", progress=False)
    return Runner("tiny", folder / "results", folder / "work")


@pytest.fixture
def run(tmp_path: Path):
    """Runs jobs in a new folder, without a progress bar."""

    def start(*jobs: Job) -> Runner:
        made = Runner("tiny", tmp_path / "results", tmp_path / "work")
        made.run(jobs, progress=False)
        return made

    return start


def records(made: Runner, *jobs: Job) -> list[dict]:
    return [json.loads(made.path(job).read_text()) for job in jobs]


def test_every_row_of_every_table_runs(everything: Runner):
    for job in jobs_of(list(TABLES), 1):
        (record,) = records(everything, job)
        judged = {row.name: row.judged for row in TABLES[job.table].rows} if job.table in TABLES else {}
        assert record["metrics"][judged.get(job.name, "miou")] >= 0, job
        assert {"command", "commit", "device", "seconds", "steps", "seed"} <= record.keys()
        shares = [value for key, value in record["metrics"].items() if not key.startswith(("num_", "groups"))]
        assert -1 <= min(shares) <= max(shares) <= 1
        assert record["split"] == ("validation" if job.table == "tuning" else "test")
    for job in jobs_of(["table1"], 1)[-9:]:
        metrics = records(everything, job)[0]["metrics"]
        assert {"miou", "miou_objects", "miou_backgrounds", "oracle_miou", "ari", "recognition_ap"} <= metrics.keys()
    assert not list(everything.results.rglob("*.part")) and not list(everything.work.rglob("last*"))


def test_rows_whose_settings_are_equal_share_a_model(everything: Runner):
    reference = {(job.table, job.name): records(everything, job)[0]["model"] for job in jobs_of(list(TABLES), 1)}
    same = reference["table1", "the reference"]
    for place in (("table3", "one stage, larger set"), ("table4", "GroupViT"), ("c3", "oracle labels"),
                  ("nouns", "K = 3"), ("residual", "no residual, all of the steps"), ("similarity", "without")):
        assert reference[place] == same
    assert len({key for (table, _), key in reference.items() if table == "table1"}) == 9
    assert reference["table5", "DINO"] == reference["c2", "DINO"] != reference["c2", "MoCo v3"]


def test_the_learning_rate_that_is_best_on_validation_scenes_is_chosen(everything: Runner):
    for family in FAMILIES:
        tried = {record["learning_rate"]: record["metrics"]["miou"]
                 for record in records(everything, *tuning_jobs(family))}
        assert set(tried) == set(FAMILIES[family].rates)
        best = everything.learning_rate(family)
        assert tried[best] == max(tried.values())
        jobs = [job for job in jobs_of(list(TABLES), 1) if job.lr is None and job.model.family == family]
        used = {record["learning_rate"] for record in records(everything, *jobs)}
        assert used == {best}


def test_finished_rows_are_skipped_and_damaged_ones_measured_again(everything: Runner, monkeypatch):
    jobs = jobs_of(["table4", "c3"], 1)
    before = [everything.path(job).stat().st_mtime_ns for job in jobs]
    monkeypatch.setattr(models, "train", lambda *given: pytest.fail("nothing is left to train"))
    assert everything._steps(jobs_of(list(TABLES), 1)) == 0 < everything._steps(jobs_of(list(TABLES), 2))
    lost, broken = everything.path(jobs[-1]), everything.path(jobs[-2])
    lost.unlink()
    broken.write_text(broken.read_text()[:40])
    everything.run(jobs, progress=False)
    again = [job for job, time in zip(jobs, before) if everything.path(job).stat().st_mtime_ns != time]
    assert again == jobs[-2:] and all(everything.finished(job) for job in jobs)


def test_a_changed_row_is_not_finished(run):
    made = run(ONE)
    assert made.finished(ONE)
    other = Job(ONE.table, ONE.name, Model(image={"residual": "learned"}), ONE.measures, ONE.seed, ONE.lr)
    assert made.finished(other) is None
    assert definition(ONE, BUDGETS["tiny"]) != definition(ONE, BUDGETS["cpu"])


def test_a_new_option_at_its_default_leaves_definitions_as_they_are():
    old = make_dataclass("Config", [("steps", int, 10)])
    new = make_dataclass("Config", [("steps", int, 10), ("option", bool, False)])
    around = make_dataclass("Budget", [("config", object)])
    assert digest(around(old(5))) == digest(around(new(5))) != digest(around(new(5, True)))
    assert digest(old(5)) != digest(old(6))


@pytest.mark.parametrize(("job", "where"), [(ONE, loop), (PRETRAINED, pretraining)])
def test_an_interrupted_row_leaves_nothing_half_written_and_goes_on(run, tmp_path, monkeypatch, job, where):
    rate, calls = where.learning_rate, []
    stop_at = 2 if job is ONE else 1

    def interrupt(step: int, steps: int, *rest) -> float:
        calls.append(step)
        if len(calls) == stop_at:
            os.kill(os.getpid(), signal.SIGINT)
        return rate(step, steps, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(where, "learning_rate", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(job)
    assert len(calls) == stop_at
    assert not list((tmp_path / "results").rglob("*")) and not list(tmp_path.rglob("*.part"))
    assert list((tmp_path / "work").rglob("last*"))

    resumed = []
    monkeypatch.setattr(where, "learning_rate", lambda step, *rest: resumed.append(step) or rate(step, *rest))
    metrics = records(run(job), job)[0]["metrics"]
    assert resumed == ([2, 3] if job is ONE else [1, 0])     # what was left; then, of MoCo, the training with masks
    assert not list((tmp_path / "work").rglob("last*"))
    for path in (tmp_path / "work").rglob("*.safetensors"):
        path.unlink()
    (tmp_path / "results").rename(tmp_path / "before")
    assert records(run(job), job)[0]["metrics"] == metrics     # as one that nothing has stopped


def test_two_runners_at_once_do_no_row_twice(tmp_path, monkeypatch):
    jobs = [job for job in jobs_of(["similarity", "c3"], 2) if job.table != "tuning"]
    jobs = [Job(job.table, job.name, job.model, job.measures, job.seed, 1e-3) for job in jobs]
    done, do = [], Runner._run
    monkeypatch.setattr(runner, "_WAIT", 0.05)
    monkeypatch.setattr(Runner, "_run", lambda self, job, *rest: done.append(job) or do(self, job, *rest))
    threads = [threading.Thread(target=Runner("tiny", tmp_path / "results", tmp_path / "work").run, args=(jobs, False))
               for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done, key=jobs.index) == jobs


def test_processes_share_the_rows(tmp_path):
    run_tables(["similarity"], 1, "tiny", tmp_path / "results", tmp_path / "work", jobs=2, progress=False)
    made = Runner("tiny", tmp_path / "results", tmp_path / "work")
    assert all(made.finished(job) for job in jobs_of(["similarity"], 1))
    assert not list(tmp_path.rglob("*.part")) and not list(tmp_path.rglob("last*"))


def test_a_row_of_another_process_is_left_to_it_until_it_dies(tmp_path, monkeypatch):
    made = Runner("tiny", tmp_path / "results", tmp_path / "work")
    key = made.setup(ONE).key
    made.work.mkdir(parents=True)
    hold = ("import sys, time; from filelock import FileLock; FileLock(sys.argv[1]).acquire(); "
            "print('held', flush=True); time.sleep(600)")
    other = subprocess.Popen([sys.executable, "-c", hold, str(made.work / f"{key}.lock")], stdout=subprocess.PIPE)
    assert other.stdout.readline().strip() == b"held"
    free = Job("nouns", "K = 1", Model(training={"num_prompts": 1}), ("groups",), 5, 1e-3)

    def killed(seconds: float) -> None:      # called once nothing else is left to do
        assert made.finished(free) and not made.finished(ONE)
        other.kill()
        other.wait()

    monkeypatch.setattr(runner.time, "sleep", killed)
    made.run([ONE, free], progress=False)
    assert made.finished(ONE)
    with FileLock(made.work / f"{key}.lock", blocking=False):
        pass


def test_a_training_that_is_not_finite_is_a_result(run, monkeypatch):
    def broken(*given):
        raise TrainingStopped("step 7: the loss is not finite")

    monkeypatch.setattr(runner, "trained_model", broken)
    worst, *others = tuning_jobs("soft")
    made = run(worst)
    monkeypatch.undo()
    made.run(others, progress=False)
    assert records(made, worst)[0]["stopped"].startswith("step 7") and made.finished(worst)
    assert made.learning_rate("soft") in FAMILIES["soft"].rates[1:]


def test_settings_of_a_row():
    setup = make_setup(HARD, BUDGETS["tiny"], 3, 2e-3)
    assert setup.recipe.model.image.assignment == "hard" and setup.recipe.model.image.residual == "projected"
    assert setup.recipe.training.seed == 3 and setup.recipe.training.lr == 2e-3
    shares = Model(num_scenes=0.5, steps=0.25, scenes={"natural_colour": 1.0})
    setup = make_setup(shares, BUDGETS["cpu"], 0, 1e-3)
    whole = BUDGETS["cpu"].recipe
    assert setup.recipe.num_scenes == whole.num_scenes // 2 and setup.recipe.training.steps == whole.training.steps // 4
    assert setup.scenes.natural_colour == 1.0
    # Table 1 has the paper's two losses and nothing else.
    for row in TABLES["table1"].rows[:-1]:
        training = make_setup(row.model, BUDGETS["cpu"], 0, 1e-3).recipe.training
        used = {name: value for name, value in vars(training).items() if name.endswith("_weight") and value}
        assert used == {"image_text_weight": 1.0, "multi_label_weight": 1.0} and not training.shared_nouns
        assert training.num_prompts == (3 if "multi-label" in row.name else 0) and training.final_temperature is None
    with pytest.raises(ValueError, match="no family 'softer'.*soft, hard"):
        make_setup(Model("softer"), BUDGETS["cpu"], 0, 1e-3)


def test_a_trained_model_serves_every_way_to_make_masks():
    setup = make_setup(REFERENCE, BUDGETS["cpu"], 0, 1e-3)
    other = replace(setup, recipe=replace(setup.recipe, protocol=InferenceOptions(pixels="shared")))
    longer = replace(setup, recipe=replace(setup.recipe, training=replace(setup.recipe.training, steps=7)))
    assert other != setup and other.key == setup.key != longer.key


def test_masks_of_all_groups_beside_those_of_the_largest(monkeypatch):
    seen = []
    monkeypatch.setattr(measures, "evaluate", lambda model, masks, protocol, wanted: seen.append(protocol) or
                        SimpleNamespace(metrics={"num_images": 6, "miou": 0.2, "miou_objects": 0.1}))
    on = Conditions(SceneConfig(), "test", 6, InferenceOptions(overlap=2))
    assert measures.shared(None, on) == {"miou_shared": 0.2, "miou_objects_shared": 0.1}
    assert seen == [InferenceOptions(overlap=2, pixels="shared")] and on.protocol.pixels == "largest"


def test_tables_by_name():
    assert tables_of(["table2", "beyond", "table2"]) == ["table2", *NAMES["beyond"]]
    assert tables_of(["all"]) == list(TABLES)
    with pytest.raises(ValueError, match="no table table6; choose from table1"):
        tables_of(["table1", "table6"])
    with pytest.raises(ValueError, match="no two rows may share a name"):
        Table("twice", "", (Row("One row", REFERENCE), Row("one, row", REFERENCE)))
    with pytest.raises(ValueError, match="without another"):
        Table("unknown", "", (Row("one", REFERENCE, above=("another",)),))


def test_on_the_command_line(everything: Runner, capsys, tmp_path):
    assert main(["experiments", "table9"]) == 2
    assert "no table table9" in capsys.readouterr().err
    assert main(["experiments", "report", "table1"]) == 2
    assert main(["experiments", "table1", "--seeds", "0", "--budget", "tiny"]) == 2
    assert main(["experiments", "report", "--budget", "tiny", "--results", str(tmp_path / "none")]) == 2
    assert "no finished row" in capsys.readouterr().err
    folders = ["--results", str(everything.results.parent), "--work", str(everything.work.parent)]
    assert main(["experiments", "table2", "--seeds", "1", "--budget", "tiny", *folders]) == 0
    assert "8 rows" in capsys.readouterr().err                # three that choose the rate, and five
    assert main(["experiments", "report", "--budget", "tiny", *folders]) == 0
    text = Path(capsys.readouterr().out.strip()).read_text()
    assert all(f"## {table.title}" in text and all(f"| {row.name} |" in text for row in table.rows)
               for table in TABLES.values())


def write(made: Runner, table: str, name: str, objects: list[float], **record) -> None:
    """Results of a row as if it had been run, a seed for each value."""
    row = next(row for row in TABLES[table].rows if row.name == name)
    for seed, value in enumerate(objects):
        job = Job(table, name, row.model, row.measures, seed)
        made.path(job).parent.mkdir(parents=True, exist_ok=True)
        made.path(job).write_text(json.dumps({"definition": definition(job, made.budget), "seconds": 60.0,
                                              "model": f"{name}, {seed}", "metrics": {"miou_objects": value}} | record))


def test_the_report_says_which_orderings_hold(tmp_path):
    made = Runner("cpu", tmp_path / "tables", tmp_path)
    write(made, "table1", "soft", [0.10, 0.12, 0.11])
    write(made, "table1", "soft, multi-label", [0.30, 0.31, 0.35])
    write(made, "table1", "hard", [0.20, 0.21, 0.19])
    write(made, "table1", "hard, multi-label", [0.17, 0.18, 0.22])
    write(made, "table1", "hard, no residual", [0.4])
    lines = make_report("cpu", tmp_path / "tables", tmp_path / "tables.md").splitlines()
    cells = {parts[1]: parts[2:] for line in lines if len(parts := [part.strip() for part in line.split("|")]) == 8}
    half = stats.t.ppf(0.975, 2) * 1 / np.sqrt(3)
    assert cells["soft"][:2] == ["12.0", f"**11.0 ± {half:.1f}**"]
    assert cells["soft, multi-label"][2] == "above *soft*: holds"
    assert cells["hard"][2] == "above *soft*: holds"
    assert cells["hard, multi-label"][2] == "above *hard*: cannot be told; above *soft, multi-label*: fails"
    assert cells["hard, no residual"][:2] == ["–", "**40.0**"]
    assert cells["soft, no residual"][1:3] == ["not trained yet", "–"]
    assert cells["soft, multi-label, no residual"][2] == "above *soft, no residual*: not trained yet"
    assert cells["row"][1] == "ours: objects" and "objects" not in cells["row"][2:]     # no metric stands there twice
    assert "Of 4 orderings 2 hold, 1 fail, 1 cannot be told." in "\n".join(lines)
    listed = next(line for line in lines if line.startswith("| table1 | soft, multi-label above soft |"))
    low, high = stats.ttest_ind([30, 31, 35], [10, 12, 11], equal_var=False).confidence_interval(0.95)
    assert listed.endswith(f"| +13.1 | +21.0 [{low:+.1f}, {high:+.1f}] | holds |")
    assert TABLES["table1"].isolates in "\n".join(lines)
    ratio = next(line for line in lines if line.startswith("| hard, multi-label over soft |"))
    assert f"| 3.27 | {np.mean([1.7, 18 / 12, 2.0]):.2f} ±" in ratio
    assert (tmp_path / "tables.md").read_text().splitlines() == lines


def test_intervals_and_orderings():
    assert interval([0.5]) == (0.5, None)
    mean, half = interval([1.0, 3.0])
    assert mean == 2.0 and half == pytest.approx(12.706, abs=1e-3)      # t with one degree of freedom, times 1
    high, low = [2.0, 2.1, 2.2], [1.0, 1.1, 1.3]
    assert compare(high, low).verdict == "holds" and compare(low, high).verdict == "fails"
    unsure = compare([1.0, 2.0, 3.0], [0.9, 2.1, 2.8])
    assert unsure.verdict == "cannot be told" and unsure.low < 0 < unsure.mean < unsure.high
    assert compare([2.0, 2.0], [1.0, 1.0]).verdict == "holds"
    assert compare([1.0, 1.0], [1.0, 1.0]).verdict == "cannot be told"
    assert compare([3.0, 4.0], [1.0]) == Comparison(2.5, -np.inf, np.inf)     # a single seed bounds nothing
    # Seeds differ more than the two rows do: only in pairs the difference is sure.
    better, worse = [1.1, 2.2, 3.2], [1.0, 2.0, 3.0]
    assert compare(better, worse).verdict == "cannot be told"
    found, (mean, half) = compare(better, worse, paired=True), interval([0.1, 0.2, 0.2])
    assert (found.mean, found.low, found.high) == pytest.approx((mean, mean - half, mean + half))
    assert found.verdict == "holds"


def test_rows_of_the_same_models_are_compared_in_pairs(tmp_path):
    made = Runner("cpu", tmp_path, tmp_path)
    write(made, "table4", "k-means", [0.3, 0.4, 0.5], model="one")
    write(made, "table4", "pixel by pixel", [0.25, 0.36, 0.46], model="one")
    write(made, "table4", "GroupViT", [0.31, 0.41, 0.51], model="two")
    found = {(better.name, worse.name): ours for better, worse, ours in Results("cpu", tmp_path).comparisons("table4")}
    assert found["k-means", "pixel by pixel"].verdict == "holds"
    assert found["GroupViT", "k-means"].verdict == found["GroupViT", "pixel by pixel"].verdict == "cannot be told"
    assert found["k-means", "mean-shift"] is None


@pytest.mark.parametrize("method", CLUSTERINGS)
def test_clusters_with_a_known_answer(method):
    """Three blobs of patches in 48 dimensions."""
    draw = torch.Generator().manual_seed(0)
    truth = torch.arange(60) // 20
    centres = 4 * torch.randn(3, 48, generator=draw)
    tokens = centres[truth] + 0.3 * torch.randn(60, 48, generator=draw)
    output = ImageOutput(tokens.mean(0)[None], tokens[None], [], (6, 10))
    (maps,), segments = cluster_patches(method, 3)(SimpleNamespace(image_head=lambda x: x), output)
    labels = maps[0].flatten(1).argmax(dim=0)
    assert adjusted_rand_score(truth, labels) == 1.0
    for cluster in labels.unique():      # its vector is the mean of its patches, at length 1
        mean = tokens[labels == cluster].mean(dim=0)
        torch.testing.assert_close(segments[0, cluster], mean / mean.norm())


@pytest.mark.parametrize("method", ["slic", "felzenszwalb"])
def test_superpixels_of_four_fields(method):
    truth = (torch.arange(64)[:, None] >= 24).long() * 2 + (torch.arange(64)[None, :] >= 40).long()
    colours = torch.tensor([[250, 20, 20], [20, 20, 250], [20, 230, 20], [240, 240, 240]], dtype=torch.uint8)
    pieces = superpixels(method, 4 if method == "felzenszwalb" else 12)(colours[truth].permute(2, 0, 1))
    assert pieces.shape == truth.shape and pieces.min() == 0
    inside = [truth[pieces == piece].bincount(minlength=4).float() for piece in pieces.unique()]
    assert all(counts.max() / counts.sum() > 0.95 for counts in inside)     # no piece crosses an edge
    if method == "felzenszwalb":
        assert adjusted_rand_score(truth.flatten(), pieces.flatten()) > 0.95
    with pytest.raises(ValueError, match="no superpixels 'quickshift'"):
        superpixels("quickshift")


def test_a_segment_is_named_by_its_mean_feature():
    tokens = torch.zeros(1, 4, 3)
    tokens[0, 0, 0] = tokens[0, 1, 1] = tokens[0, 2, 1] = 1.0      # four patches: class 0, 1, 1, and a weak 2
    tokens[0, 3, 2] = 0.1
    output = ImageOutput(tokens.mean(1), tokens, [], (2, 2))
    model = SimpleNamespace(encode_image=lambda images, overlap: (torch.ones(1, 3), output), image_head=lambda x: x,
                            scale=lambda: 10.0, device=torch.device("cpu"))
    picture = torch.zeros(3, 8, 8, dtype=torch.uint8)
    quarters = (torch.arange(8)[:, None] >= 4).long() * 2 + (torch.arange(8)[None, :] >= 4).long()
    protocol = InferenceOptions(top_classes=None)
    labels = name_segments(model, picture, quarters, torch.eye(3), protocol)
    assert [int(labels[y, x]) for y, x in ((0, 0), (0, 7), (7, 0))] == [0, 1, 1]
    halves = (torch.arange(8)[None, :] >= 4).long().expand(8, 8)     # left: 0 and 1 alike, right: 1 and a little of 2
    labels = name_segments(model, picture, halves, torch.eye(3), protocol)
    assert (labels[:, 4:] == 1).all() and len(labels[:, :4].unique()) == 1


def test_the_best_mask_of_each_object():
    truth = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 5]])      # objects 0 and 1; 5 is a background
    masks = torch.tensor([[[1, 1, 1, 0], [1, 1, 0, 0]], [[0, 0, 1, 1], [0, 0, 1, 1]]], dtype=torch.bool)
    assert best_jaccard(masks, truth, 3) == pytest.approx((4 / 5 + 3 / 4) / 2)
    assert best_jaccard(masks, torch.full((2, 4), 5), 3) is None


def test_masks_of_attention_hold_their_share():
    encoder = ImageEncoder(ImageConfig(image_size=32, patch_size=8, width=16, num_heads=2, depths=(2,),
                                       num_group_tokens=(0,), num_output_groups=(0,), blocks_std=2.0)).eval()
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    least, small, large, every = (attention_masks(encoder, images, mass) for mass in (1e-6, 0.3, 0.9, 1.1))
    assert small.shape == (3, 2, 32, 32) and (small <= large).all() and every.all()
    assert (least.sum((2, 3)) == 8 * 8).all()                      # one patch, the one that is looked at most
    assert small.float().mean() <= 0.3 + 1 / 16 and small.sum() < large.sum() and large.float().mean() <= 0.9 + 1 / 16


@pytest.mark.parametrize(("sees", "stays"), [("its own pixel", 1.0), ("the whole picture", 0.5)])
def test_a_class_that_comes_from_elsewhere_leaks(sees, stays, monkeypatch):
    def segment(model, images, names, protocol, class_embeddings) -> SimpleNamespace:
        light = images[:, 0].float() if sees == "its own pixel" else images[:, 0].float().mean((1, 2), keepdim=True)
        right = (torch.arange(images.shape[-1]) >= images.shape[-1] // 2).long()
        return SimpleNamespace(labels=(light > 180).long().expand(len(images), *images.shape[2:]),
                               groups=[right.expand(len(images), *images.shape[2:])])

    halves = torch.tensor([250, 200]).repeat_interleave(8).expand(3, 16, 16).to(torch.uint8)     # grey: 128
    monkeypatch.setattr(measures, "segment", segment)
    monkeypatch.setattr(measures, "embed_classes", lambda *given: None)
    monkeypatch.setattr(Conditions, "masks", lambda self: SimpleNamespace(images=halves[None].repeat(4, 1, 1, 1)))
    model = SimpleNamespace(config=SimpleNamespace(image=SimpleNamespace(num_group_tokens=(2,))))
    figures = measures.leaking(model, Conditions(SceneConfig(), "test", 4, InferenceOptions()))
    # Beside grey, the left half has a mean of 189, the right half one of 164.
    assert figures == {"class_stays": stays, "num_segments": 8}


def test_a_shortcut_is_tried_on_other_drawings_and_other_hues(monkeypatch):
    seen = []
    monkeypatch.setattr(measures, "evaluate", lambda model, masks, *rest: seen.append(masks) or SimpleNamespace(
        metrics={"num_images": len(masks), "miou_objects": len(seen) / 10}))
    on = Conditions(SceneConfig(natural_colour=1.0), "test", 6, InferenceOptions())
    assert measures.shortcut(None, on) == {"miou_objects_unseen": 0.1, "miou_objects_hue": 0.2}
    scenes, (unseen, hue) = on.masks(), seen
    images, turned = scenes.images, hue.images
    objects = (scenes.masks < scenes.num_objects)[:, None].expand_as(images)
    assert unseen is on.masks("unseen") and hue.masks is scenes.masks
    assert torch.equal(turned[~objects], images[~objects]) and not torch.equal(turned[objects], images[objects])
    lightest, darkest = images.amax(dim=1).int(), images.amin(dim=1).int()     # a turned hue has the same of both
    assert (turned.amax(dim=1).int() - lightest).abs().max() <= 2
    assert (turned.amin(dim=1).int() - darkest).abs().max() <= 2


def small_encoder(**image) -> ImageConfig:
    return ImageConfig(**dict(image_size=16, patch_size=4, width=16, num_heads=2, depths=(1,), num_group_tokens=(0,),
                              num_output_groups=(0,), drop_path=0.0, stem="convolution", positions="none") | image)


def test_views_depend_on_their_key_alone_and_masks_are_mirrored_with_their_images():
    images = torch.randint(0, 256, (32, 3, 16, 16), dtype=torch.uint8)
    one, again, other = views(images, 8, 0.3, 1, 2), views(images, 8, 0.3, 1, 2), views(images, 8, 0.3, 1, 3)
    assert one.shape == (32, 3, 8, 8) and torch.equal(one, again) and not torch.equal(one, other)
    masks = images[:, 0]
    assert torch.equal(mirror(images, 4, 5)[:, 0], mirror(masks, 4, 5))
    turned = [not torch.equal(a, b) for a, b in zip(mirror(masks, 4, 5), masks)]
    assert any(turned) and not all(turned)


@pytest.mark.parametrize("kind", [MoCo, DINO])
def test_the_teacher_is_a_moving_average_of_the_student(kind):
    module = kind(small_encoder())
    names = [name for name, _ in module.encoder.named_parameters()]
    trained = {name for name, p in module.named_parameters() if p.requires_grad}
    assert not [name for name in trained if name.startswith("teacher")] and any("encoder" in name for name in trained)
    images = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8)
    module.loss(images, images[:, 0], 0, 0).backward()
    assert all(module.encoder.get_parameter(name).grad is not None for name in names)
    with torch.no_grad():
        for parameter in module.encoder.parameters():
            parameter += 1.0
    before = {name: module.teacher.get_parameter(name).clone() for name in names}
    module.after_step(0.0)
    for name in names:
        moved = module.teacher.get_parameter(name) - before[name]
        ahead = module.encoder.get_parameter(name) - before[name]
        torch.testing.assert_close(moved, 0.01 * ahead, atol=1e-5, rtol=1e-3)


def test_training_with_masks_learns_the_colours(tmp_path):
    masks = torch.randint(0, 3, (32, 4, 4)).repeat_interleave(4, 1).repeat_interleave(4, 2).to(torch.uint8)
    colours = torch.tensor([[220, 30, 30], [30, 200, 40], [40, 60, 220]], dtype=torch.uint8)
    images = colours[masks.long()].permute(0, 3, 1, 2).contiguous()
    module = MaskTraining(ImageEncoder(small_encoder(depths=(0,))), 3)
    config = TrainConfig(steps=60, batch_size=16, lr=3e-3, warmup=6, save_every=30, precision="fp32")
    fit(module, images, masks, config, tmp_path / "last.safetensors", SimpleBar(), torch.device("cpu"))
    right = module(normalize(images.float() / 255)).argmax(dim=1) == masks
    assert right[:, 2::4, 2::4].float().mean() > 0.9


def test_a_killed_training_in_fp16_goes_on_with_its_gradient_scale(tmp_path):
    """With a fresh scale, the largest, the first gradients after the stop would overflow and their steps be skipped."""
    images = torch.randint(0, 256, (16, 3, 16, 16), dtype=torch.uint8)
    config = TrainConfig(steps=8, batch_size=8, lr=3e-3, warmup=1, save_every=4, precision="fp16")

    def trained(name: str, killed_at: int | None = None) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        module = MaskTraining(ImageEncoder(small_encoder(depths=(0,))), 3)
        with torch.no_grad():
            module.head.weight *= 10     # so that the first gradients overflow
        steps = iter(range(1, 9))

        class Bar(SimpleBar):
            def update(self, done: int) -> None:
                if done and next(steps) == killed_at:
                    raise RuntimeError("killed")

        fit(module, images, images[:, 0] % 3, config, tmp_path / name, Bar(), torch.device("cpu"))
        return {key: value.clone() for key, value in module.state_dict().items()}

    whole = trained("whole")
    with pytest.raises(RuntimeError, match="killed"):
        trained("stopped", killed_at=6)
    with safe_open(tmp_path / "stopped", framework="pt") as file:
        state = json.loads(file.metadata()["precision"])
    assert 0 < state["skipped"] < 4 and state["scaler"]["scale"] < 2.0**16
    again = trained("stopped")
    assert all(torch.equal(again[key], value) for key, value in whole.items())


class SimpleBar:
    """As much of a progress bar as a training needs."""

    disable = True

    def update(self, steps: int) -> None:
        pass


def test_without_lightly_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightly.loss", None)
    monkeypatch.setitem(sys.modules, "lightly", None)
    with pytest.raises(MissingExtra, match=r"lightly is not installed.*minigroupvit\[tables\]"):
        pretraining.pretraining("dino", small_encoder(), 3)
    with pytest.raises(ValueError, match="no pre-training 'mae'"):
        pretraining.pretraining("mae", small_encoder(), 3)


def test_scenes_of_fewer_drawings():
    config = SceneConfig(drawings=2)
    shown = {instance.drawing for index in range(40) for instance in make_scene(index, "train", config).instances}
    assert shown == {0, 1}
    unseen = {instance.drawing for index in range(5) for instance in make_scene(index, "unseen", config).instances}
    assert unseen == {instance.drawing for index in range(5) for instance in make_scene(index, "unseen").instances}
    with pytest.raises(ValueError, match="drawings counts"):
        SceneConfig(drawings=0)
