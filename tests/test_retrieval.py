"""Recall@k against torchmetrics, against chance, and as what a training on real data is watched by."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torchmetrics.retrieval import RetrievalHitRate

from minigroupvit.checkpoints.native import read_checkpoint
from minigroupvit.data.captioned.batches import CaptionedImages
from minigroupvit.evaluation.retrieval import chance_recall, embed_pairs, evaluate_retrieval, recall
from minigroupvit.training.recipes import recipe
from minigroupvit.training.run import train_on_dataset


def pairs(counts: list[int], noise: float = 1.0, dtype: torch.dtype = torch.double):
    """Unit vectors of pictures and of their texts, which are the pictures' and noise."""
    images = F.normalize(torch.randn(len(counts), 6, dtype=dtype), dim=1)
    owner = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    owner = owner[torch.randperm(len(owner))]
    return images, F.normalize(images[owner] + noise * torch.randn(len(owner), 6, dtype=dtype), dim=1), owner


@pytest.mark.parametrize("chunk", [7, 1000])
def test_recall_is_the_hit_rate_of_torchmetrics(chunk: int) -> None:
    images, texts, owner = pairs([1, 5, 2, 3] * 6)
    scores, right = images @ texts.T, owner == torch.arange(len(images))[:, None]          # (N, M)
    found = recall(images, texts, owner, chunk=chunk)
    for k in (1, 5, 10):
        for name, one, other in (("image_to_text", scores, right), ("text_to_image", scores.T, right.T)):
            query = torch.arange(one.shape[0])[:, None].expand_as(one)
            expected = RetrievalHitRate(top_k=k)(one.flatten(), other.flatten(), indexes=query.flatten())
            assert found[f"{name}_recall_{k}"] == pytest.approx(expected.item())
    six = [value for name, value in found.items() if name != "mean_recall"]
    assert len(six) == 6 and found["mean_recall"] == pytest.approx(sum(six) / 6)
    assert 0.2 < found["mean_recall"] < 0.95, "too easy or too hard to tell anything"


def test_a_perfect_model_and_one_that_is_always_wrong() -> None:
    images, texts, owner = pairs([2] * 12, noise=0.0)
    assert set(recall(images, texts, owner).values()) == {1.0}
    assert recall(images, -texts, owner)["text_to_image_recall_10"] == 0


@pytest.mark.parametrize("value", [1.0, float("nan")])
def test_a_model_that_gives_everything_the_same_vector_finds_nothing(value: float) -> None:
    images, texts, owner = pairs([2] * 12)
    found = recall(torch.full_like(images, value), torch.full_like(texts, value), owner)
    assert set(found.values()) == {0.0}


def test_chance_is_the_mean_over_random_answers() -> None:
    counts = [1, 5, 2, 4]
    draws = [recall(*pairs(counts, noise=1e6), ranks=(1, 3, 12)) for _ in range(600)]
    for name, expected in chance_recall(pairs(counts)[2], ranks=(1, 3, 12)).items():
        assert sum(draw[name] for draw in draws) / len(draws) == pytest.approx(expected, abs=0.05), name


def test_a_picture_without_a_text() -> None:
    images, texts, owner = pairs([1] * 5)
    with pytest.raises(ValueError, match="6 pictures, but only 5 of them have a text"):
        recall(torch.cat([images, images[:1]]), texts, owner)


def test_embeddings_do_not_depend_on_the_batch(make_model, captioned: CaptionedImages) -> None:
    model = make_model().train()
    images, texts, owner = embed_pairs(model, captioned, batch_size=64)
    assert model.training and images.shape == (64, 12) and texts.shape == (128, 12)
    assert owner.tolist() == [i for i in range(64) for _ in range(2)]
    again = embed_pairs(model, captioned, batch_size=9)
    torch.testing.assert_close(again[0], images, atol=1e-5, rtol=0)
    torch.testing.assert_close(again[1], texts, atol=1e-5, rtol=0)
    figures = evaluate_retrieval(model, captioned)
    assert (figures["num_images"], figures["num_texts"]) == (64, 128) and "mean_recall" in figures


def test_training_keeps_the_model_that_retrieves_best(captioned: CaptionedImages, tmp_path: Path, monkeypatch) -> None:
    """Four validations, of which the second is the best one."""
    given = iter([0.2, 0.7, 0.5, 0.6])
    monkeypatch.setattr("minigroupvit.training.run.evaluate_retrieval",
                        lambda model, data: {"mean_recall": next(given), "num_images": len(data)})
    small = recipe("scenes")
    small = replace(small, model=replace(small.model, image=replace(small.model.image, image_size=16)),
                    training=replace(small.training, steps=8, batch_size=8, warmup=2, precision="fp32", eval_every=2,
                                     save_every=4, snapshot_every=0))
    held = CaptionedImages(captioned.images[:10], captioned.captions[:10])
    train_on_dataset(small, captioned, tmp_path, progress=False, device="cpu", validation=held)
    about = read_checkpoint(tmp_path / "best.safetensors")[0]["about"]
    assert about["step"] == 4 and about["validation"] == {"mean_recall": 0.7, "num_images": 10}
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["mean_recall"] for line in lines if line["kind"] == "validation"] == [0.2, 0.7, 0.5, 0.6]
