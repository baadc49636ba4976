"""Our tokenizers as pipelines of the tokenizers library, the form in which transformers reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..clip_tokenizer import ClipTokenizer, clip_vocabulary
from ..formats import write_atomically
from ..tokenizer import END, PAD, START, UNKNOWN, CaptionTokenizer
from ..tokenizer_interface import Tokenizer


def caption_pipeline(tokenizer: CaptionTokenizer) -> Any:
    """The same words to the same ids, as a `tokenizers.Tokenizer`."""
    from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers

    ids = {entry: i for i, entry in enumerate(tokenizer.vocabulary)}
    return _pipeline(
        model=models.WordPiece(ids, unk_token=UNKNOWN),
        normalizers=[normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()],
        pre_tokenizers=[pre_tokenizers.Split(Regex(r"[\p{L}\p{N}]+"), behavior="removed", invert=True)],
        decoders=[decoders.WordPiece()],
        start=(START, tokenizer.start_id), end=(END, tokenizer.end_id))


def clip_pipeline() -> Any:
    """CLIP's byte pairs as a `tokenizers.Tokenizer`: the vocabulary of `ClipTokenizer`.

    It leaves out one step: mending texts of a wrong encoding, and HTML entities, before they are split.
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
    """The steps in their order, and each text between its start and its end token."""
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
             "model_input_names": ["input_ids", "attention_mask"]}
    write_atomically(folder / "tokenizer.json", lambda path: pipeline.save(str(path)))
    write_atomically(folder / "tokenizer_config.json", lambda path: path.write_text(
        json.dumps(about | special, indent=2) + "\n", encoding="utf-8"))
