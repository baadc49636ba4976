"""Exports a model: the authors' checkpoint, or a folder with weights, configuration and tokenizer for transformers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from ...config import GroupViTConfig
from ...files import write_atomically, write_json
from ...images import IMAGE_MEAN, IMAGE_STD
from ...model import MAX_LOGIT_SCALE, GroupViT
from ...text.caption_tokenizer import ACCENTS, END, PAD, START, UNKNOWN, WORD, CaptionTokenizer
from ...text.clip_tokenizer import ClipTokenizer, clip_vocabulary
from ...text.tokenizer import Tokenizer
from ..describe import describe
from ..hub import WEIGHTS
from .names import to_theirs
from .read import DESCRIPTION, KNOWN_WORDS, ONLY, TOKENIZER


def export_released(model: GroupViT, path: str | Path) -> None:
    """Writes the authors' format: torch.save of a dictionary with the weights in `model`, under their names.

    The key `minigroupvit` holds configuration, tokenizer and inference protocol as JSON: the authors' code ignores it,
    `load_released` reads it.

    In the authors' code soft assignment must be set in its configuration too, and the only vocabulary is CLIP's.
    Raises ValueError for an option that the format lacks.
    """
    _check(model, "the authors' format", unlike_authors(model.config))
    about = getattr(model, "about", {})
    content = {"model": to_theirs(_weights(model), "authors"), DESCRIPTION: json.dumps(describe(model, about))}
    write_atomically(Path(path), lambda part: torch.save(content, part))


def export_transformers(model: GroupViT, folder: str | Path) -> None:
    """Writes a folder that `transformers.GroupViTModel.from_pretrained` opens.

    - model.safetensors: the weights. Not `multi_label_logit_scale`, which transformers lacks; `logit_scale` at
      most log 100, since transformers does not clamp it.
    - config.json: the architecture. Not the noise, stochastic depth and gradient of training.
    - tokenizer.json, tokenizer_config.json, preprocessor_config.json: for `AutoTokenizer`, `AutoImageProcessor`
      and `AutoProcessor`, so that token ids, image size and image statistics are those of the model's training
      (transformers' default is CLIP's).
    - minigroupvit.json: configuration, tokenizer and inference protocol as in our checkpoints, for `load`. A folder
      that transformers saves again lacks this file: it is loaded with its vocabulary and the paper's protocol.

    Raises ValueError for an option that transformers lacks.
    """
    folder = Path(folder)
    _check(model, "transformers' GroupViT", unlike_transformers(model.config))
    weights = _weights(model)
    weights["logit_scale"] = weights["logit_scale"].clamp(max=math.log(MAX_LOGIT_SCALE))
    # Copies: queries, keys and values are parts of one tensor here, and safetensors wants each on its own.
    theirs = {name: value.clone() for name, value in to_theirs(weights, "transformers").items()}
    write_atomically(folder / WEIGHTS, lambda path: save_file(theirs, path, metadata={"format": "pt"}))
    write_tokenizer(model.tokenizer, folder)
    write_json(folder / f"{DESCRIPTION}.json", describe(model, getattr(model, "about", {})))
    write_json(folder / "preprocessor_config.json", _preprocessor(model))
    write_json(folder / "config.json", transformers_config(model))     # last: with it the folder is a model


def transformers_config(model: GroupViT) -> dict[str, Any]:
    """config.json of transformers' GroupViT."""
    image, text, tokenizer = model.config.image, model.config.text, model.tokenizer
    widths = {part: {"hidden_size": part.width, "intermediate_size": 4 * part.width,
                     "num_attention_heads": part.num_heads} for part in (image, text)}
    return {
        "model_type": "groupvit", "architectures": ["GroupViTModel"],
        "projection_dim": model.config.embed_dim, "projection_intermediate_dim": model.config.head_width,
        "logit_scale_init_value": math.log(1 / 0.07),
        "vision_config": ONLY["vision_config"] | widths[image] | {
            "model_type": "groupvit_vision_model", "image_size": image.image_size, "patch_size": image.patch_size,
            "num_hidden_layers": sum(image.depths), "depths": image.depths,
            "num_group_tokens": image.num_group_tokens, "num_output_groups": image.num_output_groups},
        "text_config": ONLY["text_config"] | widths[text] | {
            "model_type": "groupvit_text_model", "vocab_size": text.vocab_size, "num_hidden_layers": text.depth,
            "max_position_embeddings": text.context_length, "bos_token_id": tokenizer.start_id,
            "eos_token_id": tokenizer.end_id,
            "pad_token_id": 0 if tokenizer.name == "captions" else tokenizer.end_id},
    }


def _preprocessor(model: GroupViT) -> dict[str, Any]:
    size = model.config.image.image_size
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True, "size": {"shortest_edge": size}, "resample": 3,     # bicubic
        "do_center_crop": True, "crop_size": {"height": size, "width": size},
        "do_rescale": True, "rescale_factor": 1 / 255,
        "do_normalize": True, "image_mean": IMAGE_MEAN, "image_std": IMAGE_STD,
    }


def _weights(model: GroupViT) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}


def unlike_authors(config: GroupViTConfig) -> list[str]:
    """Options of the configuration that no released format has, for messages; empty: it can be exported."""
    image = config.image
    choices = {"image.stem": (image.stem, "linear"), "image.positions": (image.positions, "learned"),
               "head": (config.head, "mlp")}
    if config.text_head is not None:
        choices["text_head"] = (config.text_head, "mlp")
    if any(image.num_group_tokens):
        choices |= {"image.residual": (image.residual, "projected"), "image.temperature": (image.temperature, 1.0),
                    "image.merged_values": (image.merged_values, "after"),
                    "image.merge_weights": (image.merge_weights, "tokens")}
    return [f"{name} {has!r} (only {only!r})" for name, (has, only) in choices.items() if has != only]


def unlike_transformers(config: GroupViTConfig) -> list[str]:
    """Options of the configuration that transformers lacks, for messages; empty: it can be exported."""
    image = config.image
    problems = unlike_authors(config)
    if image.assignment != "hard" and any(image.num_group_tokens):
        problems.append(f"image.assignment {image.assignment!r} (only 'hard')")
    for i, tokens in enumerate(image.num_group_tokens):
        if i and tokens and image.num_group_tokens[i - 1] != image.num_output_groups[i - 1]:
            problems.append(f"as many output groups as group tokens where another stage follows that groups, not "
                            f"{image.num_output_groups[i - 1]} of {image.num_group_tokens[i - 1]}")
    return problems


def _check(model: GroupViT, where: str, problems: list[str]) -> None:
    if problems:
        raise ValueError(f"{where} has no place for this model's {'; '.join(problems)}. "
                         "save_checkpoint and save_pretrained keep every model whole")


def caption_pipeline(tokenizer: CaptionTokenizer) -> Any:
    """A `CaptionTokenizer` as a `tokenizers.Tokenizer`, which transformers reads: equal ids for equal texts."""
    from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers

    ids = {entry: i for i, entry in enumerate(tokenizer.vocabulary)}
    return _pipeline(
        model=models.WordPiece(ids, unk_token=UNKNOWN),
        normalizers=[normalizers.NFKD(), normalizers.Replace(Regex(ACCENTS), ""), normalizers.NFKC(),
                     normalizers.Lowercase()],
        pre_tokenizers=[pre_tokenizers.Split(Regex(WORD), behavior="removed", invert=True)],
        decoders=[decoders.WordPiece()],
        start=(START, tokenizer.start_id), end=(END, tokenizer.end_id))


def clip_pipeline() -> Any:
    """`ClipTokenizer` as a `tokenizers.Tokenizer`.

    It leaves out one step: the repair of texts with a wrong encoding or HTML entities.
    """
    from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers

    clip = clip_vocabulary()
    merges = sorted(clip.bpe_ranks, key=clip.bpe_ranks.__getitem__)
    start, end = clip.decoder[ClipTokenizer.start_id], clip.decoder[ClipTokenizer.end_id]
    # English endings, words of any script, single digits, runs of everything else.
    words = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+")
    return _pipeline(
        model=models.BPE(clip.encoder, merges, unk_token=end, end_of_word_suffix="</w>"),
        normalizers=[normalizers.NFC(), normalizers.Lowercase()],
        pre_tokenizers=[pre_tokenizers.Split(words, behavior="removed", invert=True),
                        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)],
        decoders=[decoders.ByteLevel(), decoders.Replace("</w>", " ")],
        start=(start, ClipTokenizer.start_id), end=(end, ClipTokenizer.end_id))


def _pipeline(model: Any, normalizers: list, pre_tokenizers: list, decoders: list,
              start: tuple[str, int], end: tuple[str, int]) -> Any:
    """The steps in their order; texts get a start and an end token."""
    import tokenizers

    pipeline = tokenizers.Tokenizer(model)
    pipeline.normalizer = tokenizers.normalizers.Sequence(normalizers)
    pipeline.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(pre_tokenizers)
    pipeline.decoder = tokenizers.decoders.Sequence(decoders)
    pipeline.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{start[0]} $A {end[0]}", special_tokens=[start, end])
    return pipeline


def write_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """tokenizer.json and tokenizer_config.json, for `AutoTokenizer.from_pretrained(folder)`."""
    if isinstance(tokenizer, ClipTokenizer):
        pipeline, vocabulary = clip_pipeline(), clip_vocabulary().decoder
        start, end = vocabulary[tokenizer.start_id], vocabulary[tokenizer.end_id]
        special = {"bos_token": start, "eos_token": end, "unk_token": end, "pad_token": end}
    else:
        pipeline = caption_pipeline(tokenizer)
        special = {"bos_token": START, "eos_token": END, "unk_token": UNKNOWN, "pad_token": PAD}
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": tokenizer.context_length,
             "model_input_names": ["input_ids", "attention_mask"], KNOWN_WORDS: tokenizer.known_words}
    write_atomically(folder / TOKENIZER, lambda path: pipeline.save(str(path)))
    write_json(folder / "tokenizer_config.json", about | special)
