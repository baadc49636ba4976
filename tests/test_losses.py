"""Both losses against slow loops, and two processes against one."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from minigroupvit.distributed import gather, gather_lists
from minigroupvit.losses import (
    assignment_information,
    image_text_loss,
    likeness,
    meaning_similarity_loss,
    multi_label_loss,
    pixel_similarity_loss,
    similarity_loss,
)

# B pictures  K prompts per picture  C channels

TOLERANCE = dict(rtol=0, atol=1e-10)


def unit(*shape: int) -> Tensor:
    return F.normalize(torch.randn(*shape, dtype=torch.float64), dim=-1).requires_grad_()


def log_share(one: Tensor, chosen: int, many: Tensor, scale: Tensor) -> Tensor:
    """Log probability with which `one` chooses one of the `many`."""
    powers = [torch.exp(scale * sum(a * b for a, b in zip(one, other))) for other in many]
    return torch.log(powers[chosen] / sum(powers))


def slow_image_text(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    B = len(images)
    total = 0
    for i in range(B):
        total = total - log_share(images[i], i, texts, scale) / B / 2
        total = total - log_share(texts[i], i, images, scale) / B / 2
    return total


def slow_multi_label(images: Tensor, prompts: Tensor, scale: Tensor) -> Tensor:
    B, K = prompts.shape[:2]
    all_prompts = [prompts[i, k] for i in range(B) for k in range(K)]
    total = 0
    for i in range(B):
        for k in range(K):
            total = total - log_share(images[i], i * K + k, all_prompts, scale) / K / B / 2
            total = total - log_share(prompts[i, k], i, images, scale) / (B * K) / 2
    return total


def assert_same_value_and_gradients(fast, slow, *inputs: Tensor) -> None:
    values = fast(*inputs), slow(*inputs)
    torch.testing.assert_close(*values, **TOLERANCE)
    assert values[0] > 0.1
    for ours, expected in zip(*(torch.autograd.grad(value, inputs) for value in values)):
        assert expected.abs().max() > 1e-3
        torch.testing.assert_close(ours, expected, **TOLERANCE)


def scale() -> Tensor:
    return torch.tensor(7.0, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("B", [1, 2, 5])
def test_image_text_loss(B: int) -> None:
    if B == 1:  # nothing to confuse it with
        assert image_text_loss(unit(1, 4), unit(1, 4), 7.0).item() == 0
    else:
        assert_same_value_and_gradients(image_text_loss, slow_image_text, unit(B, 4), unit(B, 4), scale())


@pytest.mark.parametrize(("B", "K"), [(2, 1), (4, 3), (3, 2), (1, 3)])
def test_multi_label_loss(B: int, K: int) -> None:
    assert_same_value_and_gradients(multi_label_loss, slow_multi_label, unit(B, 4), unit(B, K, 4), scale())


def test_multi_label_loss_with_repeated_prompts() -> None:
    """The same noun twice for one picture, and for another: each counts as a text of its own."""
    nouns = unit(3, 4)
    which = torch.tensor([[0, 0], [0, 1], [2, 1]])
    assert_same_value_and_gradients(
        lambda images, nouns, s: multi_label_loss(images, nouns[which], s),
        lambda images, nouns, s: slow_multi_label(images, nouns[which], s), unit(3, 4), nouns, scale())


def slow_shared(images: Tensor, prompts: Tensor, scale: Tensor, positives: Tensor) -> Tensor:
    """The multi-label loss with shared targets, one row and one column at a time."""
    logits = scale * images @ prompts.flatten(0, 1).T                       # (B, B·K)
    rows = [-logits[i].log_softmax(0)[positives[i]].mean() for i in range(len(images))]
    columns = [-logits[:, t].log_softmax(0)[positives[:, t]].mean() for t in range(logits.shape[1])]
    return (sum(rows) / len(rows) + sum(columns) / len(columns)) / 2


def test_multi_label_loss_with_prompts_that_are_true_of_several_images() -> None:
    positives = torch.tensor([[1, 1, 0, 1, 0, 0], [0, 1, 1, 1, 0, 1], [0, 0, 0, 0, 1, 1]], dtype=torch.bool)
    assert_same_value_and_gradients(
        lambda images, prompts, s: multi_label_loss(images, prompts, s, positives=positives),
        lambda images, prompts, s: slow_shared(images, prompts, s, positives), unit(3, 4), unit(3, 2, 4), scale())


def test_one_prompt_is_the_image_text_loss() -> None:
    images, texts = unit(4, 3), unit(4, 3)
    torch.testing.assert_close(
        multi_label_loss(images, texts[:, None], 5.0), image_text_loss(images, texts, 5.0), **TOLERANCE)


def test_perfect_and_blind_features() -> None:
    eye = torch.eye(4)
    assert image_text_loss(eye, eye, 100.0) < 1e-6
    same = torch.ones(4, 4) / 2
    assert image_text_loss(same, same, 100.0).item() == pytest.approx(math.log(4))
    # All of 4 · 3 prompts are alike: log 12 to find one's own, log 4 back.
    assert multi_label_loss(same, same[:, None].expand(4, 3, 4), 9.0).item() == pytest.approx(
        (math.log(12) + math.log(4)) / 2)


def test_logits_stay_in_single_precision_under_autocast() -> None:
    """In bf16 a logit of 100 could be off by a quarter."""
    images, texts, prompts = unit(8, 16).float(), unit(8, 16).float(), unit(8, 2, 16).float()
    with torch.autocast("cpu", torch.bfloat16):
        inside = image_text_loss(images, texts, 100.0), multi_label_loss(images, prompts, 100.0)
    outside = image_text_loss(images, texts, 100.0), multi_label_loss(images, prompts, 100.0)
    assert inside == outside


def test_one_process_gathers_nothing() -> None:
    features = unit(2, 3)
    assert gather(features) is features and gather_lists(["a cat"]) == ["a cat"] and not dist.is_initialized()


# Several processes

B, K, G, D, C, WORLD = 6, 3, 4, 5, 4, 2


def features() -> dict[str, Tensor]:
    """Fixed inputs of the whole batch, and the parameters that make features of them."""
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    return {"images": draw(B, D), "texts": draw(B, D), "prompts": draw(B, K, D),
            "segments": draw(B, G, D), "areas": draw(B, G).softmax(dim=-1),
            "image_head": draw(D, C), "text_head": draw(D, C), "log_scale": torch.tensor(1.5).double()}


def losses_and_gradients(rows: slice) -> dict[str, Tensor]:
    """The losses on some rows of the batch, and the gradients of the parameters."""
    given = features()
    parameters = {name: given[name].requires_grad_() for name in ("image_head", "text_head", "log_scale")}
    images, segments = (F.normalize(given[n][rows] @ given["image_head"], dim=-1) for n in ("images", "segments"))
    texts, prompts = (F.normalize(given[n][rows] @ given["text_head"], dim=-1) for n in ("texts", "prompts"))
    found = {}
    positives = torch.rand(B, B * K, generator=torch.Generator().manual_seed(4)) > 0.7
    positives |= torch.eye(B, dtype=torch.bool).repeat_interleave(K, dim=1)
    assert gather_lists(list(range(B))[rows]) == list(range(B))
    for name, loss in (("image_text", image_text_loss(images, texts, given["log_scale"].exp())),
                       ("multi_label", multi_label_loss(images, prompts, given["log_scale"].exp())),
                       ("segments", multi_label_loss(segments, prompts, given["log_scale"].exp(),
                                                     given["areas"][rows])),
                       ("shared", multi_label_loss(images, prompts, given["log_scale"].exp(), positives=positives)),
                       ("information", assignment_information((given["log_scale"] * segments).softmax(dim=1)))):
        gradients = torch.autograd.grad(loss, list(parameters.values()), retain_graph=True, allow_unused=True)
        found[name] = loss.detach()
        found |= {f"{name}.{n}": g for n, g in zip(parameters, gradients) if g is not None}
    return found


def one_of_two(rank: int, folder: str) -> None:
    """A process of the test: its half of the batch, then the mean over the processes."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=WORLD)
    half = B // WORLD
    found = losses_and_gradients(slice(rank * half, (rank + 1) * half))
    save_file(found, f"{folder}/rank{rank}.safetensors")
    for value in found.values():
        dist.all_reduce(value)
        value /= WORLD
    save_file(found, f"{folder}/mean{rank}.safetensors")
    dist.barrier()  # none leaves while the other still listens
    dist.destroy_process_group()


def test_two_processes_are_one(tmp_path: Path) -> None:
    mp.spawn(one_of_two, args=(str(tmp_path),), nprocs=WORLD)
    alone = losses_and_gradients(slice(None))
    for rank in range(WORLD):
        together = load_file(tmp_path / f"mean{rank}.safetensors")
        assert together.keys() == alone.keys()
        for name, expected in alone.items():
            assert expected.abs().max() > 1e-3
            torch.testing.assert_close(together[name], expected, msg=lambda m: f"{name}: {m}", **TOLERANCE)
    # The processes really saw different rows.
    first, second = (load_file(tmp_path / f"rank{rank}.safetensors")["image_text"] for rank in range(WORLD))
    assert abs(first - second) > 1e-3


def random_areas(B: int, G: int) -> Tensor:
    return torch.rand(B, G, dtype=torch.float64).softmax(dim=1)


def test_segments_count_as_the_mean_of_their_exponentials_over_the_picture() -> None:
    segments, texts, areas = unit(3, 4, 5).detach(), unit(7, 5).detach(), random_areas(3, 4)
    found = likeness(segments, texts, 20.0, areas)
    for i in range(3):
        for m in range(7):
            mean = sum(float(areas[i, g]) * math.exp(20.0 * float(segments[i, g] @ texts[m])) for g in range(4))
            assert found[i, m].item() == pytest.approx(math.log(mean), abs=1e-10)


def test_equal_texts_are_compared_once_and_all_count() -> None:
    segments, areas, words = unit(3, 4, 5).detach(), random_areas(3, 4), unit(2, 5)
    texts = words[[0, 1, 0, 0]]
    found = likeness(segments, texts, 20.0, areas)
    torch.testing.assert_close(found, torch.cat([likeness(segments, text[None], 20.0, areas) for text in texts], 1))
    by_itself, = torch.autograd.grad(
        sum(likeness(segments, text[None], 20.0, areas).sum() for text in words[[0, 1, 0, 0]]), words)
    torch.testing.assert_close(torch.autograd.grad(found.sum(), words)[0], by_itself)


def test_one_segment_is_a_whole_image() -> None:
    images, prompts, whole = unit(6, 5), unit(6, 3, 5), torch.ones(6, 1, dtype=torch.float64)
    torch.testing.assert_close(
        multi_label_loss(images[:, None], prompts, 10.0, whole), multi_label_loss(images, prompts, 10.0))


def test_a_noun_needs_only_one_segment_and_gains_by_its_area() -> None:
    """What one segment shows outweighs three that show nothing of it; twice the area is log 2 more."""
    noun = torch.eye(5, dtype=torch.float64)[:1]
    segments = torch.eye(5, dtype=torch.float64)[None, :4]                # the first of the four is the noun
    for area in (0.2, 0.4):
        areas = torch.tensor([[area, *[(1 - area) / 3] * 3]], dtype=torch.float64)
        assert likeness(segments, noun, 100.0, areas).item() == pytest.approx(100 + math.log(area), abs=1e-6)


def test_a_segment_without_area_does_no_harm() -> None:
    segments, prompts = unit(6, 2, 5), unit(6, 3, 5)
    areas = torch.tensor([[1.0, 0.0]], dtype=torch.float64).repeat(6, 1).requires_grad_()
    loss = multi_label_loss(segments, prompts, 10.0, areas)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(areas.grad).all()


def test_an_area_gets_a_gradient_that_lets_a_name_grow() -> None:
    noun = torch.eye(5, dtype=torch.float64)[:1]
    segments = torch.eye(5, dtype=torch.float64)[None, :2]
    areas = torch.full((1, 2), 0.5, dtype=torch.float64, requires_grad=True)
    likeness(segments, noun, 10.0, areas).sum().backward()
    assert areas.grad[0, 0] > 100 * areas.grad[0, 1] > 0


def slow_segments(segments: Tensor, areas: Tensor, prompts: Tensor, scale: Tensor) -> Tensor:
    """The multi-label loss of segments, one number at a time."""
    B, K = prompts.shape[:2]
    G = segments.shape[1]

    def seen(i: int, prompt: Tensor) -> Tensor:  # exp of the likeness of picture i
        return sum(areas[i, g] * torch.exp(scale * (segments[i, g] * prompt).sum()) for g in range(G))

    total = 0
    for i in range(B):
        for k in range(K):
            own = seen(i, prompts[i, k])
            total = total - torch.log(own / sum(seen(i, prompts[j, m]) for j in range(B) for m in range(K)))
            total = total - torch.log(own / sum(seen(j, prompts[i, k]) for j in range(B)))
    return total / (B * K) / 2


def test_multi_label_loss_of_segments() -> None:
    areas = random_areas(4, 3).requires_grad_()
    assert_same_value_and_gradients(
        lambda segments, areas, prompts, s: multi_label_loss(segments, prompts, s, areas),
        slow_segments, unit(4, 3, 5), areas, unit(4, 2, 5), scale())


def test_information_of_an_assignment_by_hand() -> None:
    """Two groups: all decided and shared evenly is log 2; undecided, or all in one group, is 0."""
    even = torch.eye(2, dtype=torch.float64)[None]                        # (1, G, N): token n to group n
    one = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]], dtype=torch.float64)
    assert assignment_information(even).item() == pytest.approx(math.log(2))
    assert assignment_information(torch.full_like(even, 0.5)).item() == pytest.approx(0, abs=1e-12)
    assert assignment_information(one).item() == pytest.approx(0, abs=1e-6)
    # What other pictures use does not matter.
    assert assignment_information(torch.cat([one, one.flip(1)])).item() == pytest.approx(0, abs=1e-6)
    assert assignment_information(torch.cat([one, even])).item() == pytest.approx(math.log(2) / 2, abs=1e-6)


def test_similarity_by_hand() -> None:
    together, similar = torch.tensor([1.0, 0.5, 0.0]), torch.tensor([1.0, 0.5, 0.0])
    # Similar: 1 · 0 + 0.5 · 0.5 over 1.5. Dissimilar: 0.5 · 0.5 + 1 · 0 over 1.5.
    assert similarity_loss(together, similar).item() == pytest.approx(0.5 / 1.5)
    weight = torch.tensor([1.0, 0.0, 1.0])                                # without the undecided pair
    assert similarity_loss(together, similar, weight).item() == pytest.approx(0.0)


def two_colours() -> tuple[Tensor, Tensor]:
    """A picture whose left half is dark and right half light, and the grouping that says so: (1, 2, 16)."""
    images = torch.ones(1, 3, 16, 16)
    images[..., :8] = -1
    left = torch.zeros(4, 4)
    left[:, :2] = 1
    return images, torch.stack([left, 1 - left]).flatten(1)[None]


def test_pixel_similarity_likes_groups_along_edges_and_no_collapse() -> None:
    images, right = two_colours()
    losses = {"right": right, "one group": torch.ones_like(right) * torch.tensor([1.0, 0.0])[None, :, None],
              "undecided": torch.full_like(right, 0.5), "across": right.unflatten(-1, (4, 4)).mT.flatten(2)}
    found = {name: pixel_similarity_loss(soft, images, (4, 4)).item() for name, soft in losses.items()}
    assert found["right"] == pytest.approx(0, abs=1e-3)
    assert found["right"] < min(found["one group"], found["undecided"], found["across"]) - 0.5


def slow_meaning(soft: Tensor, segments: Tensor, areas: Tensor, margin: float) -> Tensor:
    like = unlike = like_weight = unlike_weight = 0
    for b in range(len(soft)):
        for i in range(soft.shape[2]):
            for j in range(soft.shape[2]):
                if i != j:
                    weight = (areas[b, i] * areas[b, j]).sqrt()
                    similar = torch.sigmoid(((segments[b, i] * segments[b, j]).sum() - margin) / 0.1)
                    together = (soft[b, :, i] * soft[b, :, j]).sum()
                    like, like_weight = like + weight * similar * (1 - together), like_weight + weight * similar
                    unlike = unlike + weight * (1 - similar) * together
                    unlike_weight = unlike_weight + weight * (1 - similar)
    return like / like_weight + unlike / unlike_weight


def test_meaning_similarity_against_a_slow_loop() -> None:
    torch.manual_seed(0)
    soft = torch.randn(3, 4, 5).softmax(dim=1).requires_grad_()
    segments = F.normalize(torch.randn(3, 5, 8), dim=-1).requires_grad_()
    areas = torch.rand(3, 5)
    fast, slow = (f(soft, segments, areas, 0.3) for f in (meaning_similarity_loss, slow_meaning))
    torch.testing.assert_close(fast, slow)
    fast.backward()
    assert segments.grad is None and soft.grad.abs().max() > 0            # names teach groups, not the other way round


@pytest.mark.parametrize("call, message", [
    (lambda: image_text_loss(torch.ones(4, 8), torch.ones(5, 8), 1.0),
     r"one text for each, \(B, C\); got \(4, 8\) and \(5, 8\)"),
    (lambda: image_text_loss(torch.ones(8), torch.ones(8), 1.0), r"expected images \(B, C\)"),
    (lambda: multi_label_loss(torch.ones(6, 8), torch.ones(4, 3, 8), 1.0),
     r"K for each of the images \(6, 8\); got \(4, 3, 8\)"),
    (lambda: multi_label_loss(torch.ones(4, 8), torch.ones(4, 3, 9), 1.0), "got"),
    (lambda: multi_label_loss(torch.ones(4, 5, 8), torch.ones(4, 3, 8), 1.0), "with their areas"),
    (lambda: multi_label_loss(torch.ones(4, 5, 8), torch.ones(4, 3, 8), 1.0, torch.ones(4, 6)), "with their areas"),
])
def test_losses_say_which_shapes_they_expect(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
