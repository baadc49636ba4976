"""Training in two processes on a CPU is training in one."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from minigroupvit.config import GroupViTConfig, ImageConfig, TextConfig
from minigroupvit.data.captioned.batches import CaptionedImages
from minigroupvit.distributed import join_processes, pick_device, synchronize_batch_norm
from minigroupvit.model import GroupViT
from minigroupvit.text.caption_tokenizer import CaptionTokenizer
from minigroupvit.training.config import TrainConfig
from minigroupvit.training.loop import train
from minigroupvit.training.record import Recorder

CONFIG = TrainConfig(steps=3, batch_size=8, lr=1e-3, warmup=1, num_prompts=2, precision="fp32", eval_every=0,
                     save_every=3, snapshot_every=1)
CAPTIONS = ["a red cat on the grass", "a star at night", "a boat in the water", "the house and a tree"]


def run(folder: str, head: str = "linear") -> GroupViT:
    """Three steps of a small model without noise; BatchNorm only in an mlp head."""
    generator = torch.Generator().manual_seed(0)
    data = CaptionedImages(torch.randint(0, 256, (16, 3, 32, 32), generator=generator, dtype=torch.uint8),
                           [[CAPTIONS[i % 4]] for i in range(16)])
    tokenizer = CaptionTokenizer.train(data.all_captions, context_length=16, templates=CONFIG.templates)
    torch.manual_seed(0)
    model = GroupViT(GroupViTConfig(
        image=ImageConfig(image_size=32, patch_size=8, width=32, num_heads=2, depths=(1,), num_group_tokens=(4,),
                          num_output_groups=(4,), drop_path=0.0, assignment="soft"),
        text=TextConfig(vocab_size=tokenizer.vocab_size, context_length=16, width=32, num_heads=2, depth=1),
        embed_dim=16, head=head, head_width=32, tokenizer="captions"), tokenizer)
    train(model, data, CONFIG, Recorder(folder, CONFIG, snapshot_images=data.images[:1], progress=False))
    return model


@torch.no_grad()
def embeddings(model: GroupViT) -> torch.Tensor:
    """What the model makes of a picture and of texts: its weights, without those that change nothing.

    (Some gradients are zero by mathematics; Adam blows their rounding errors up to whole steps.)
    """
    model.eval()
    image, _ = model.encode_image(torch.linspace(-1, 1, 3 * 32 * 32).view(1, 3, 32, 32))
    return torch.cat([image, model.encode_text(model.tokenizer(CAPTIONS)), model.logit_scale.view(1, 1).expand(1, 16)])


def one_of_two(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
                   "MASTER_PORT": Path(folder, "port").read_text()}
    assert join_processes(torch.device("cpu")) == torch.device("cpu")
    model = run(str(Path(folder, "two")))
    torch.save(embeddings(model), Path(folder, f"{rank}.pt"))
    with pytest.raises(ValueError, match="BatchNorm .*image_head.layers.1.*one process"):
        run(str(Path(folder, "with BatchNorm")), head="mlp")
    dist.barrier()  # none leaves while the other still listens
    dist.destroy_process_group()


def test_two_processes_train_the_model_of_one(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        (tmp_path / "port").write_text(str(free.getsockname()[1]))
    mp.spawn(one_of_two, args=(str(tmp_path),), nprocs=2)
    alone = embeddings(run(str(tmp_path / "one")))
    for rank in range(2):
        torch.testing.assert_close(torch.load(tmp_path / f"{rank}.pt"), alone, atol=1e-5, rtol=0)
    # One of the two has written, what a single process writes.
    assert sorted(p.name for p in (tmp_path / "two").iterdir()) == sorted(p.name for p in (tmp_path / "one").iterdir())


def test_one_process_needs_nothing() -> None:
    model = torch.nn.BatchNorm1d(3)
    assert synchronize_batch_norm(model) is model
    assert join_processes(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize("name", ["abacus", "xla:7"])
def test_a_device_that_cannot_be_used(name: str) -> None:
    assert pick_device("cpu") == pick_device(torch.device("cpu")) == torch.device("cpu")
    assert pick_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ValueError, match=f"cannot use the device {name}: .*leave it out"):
        pick_device(name)
