"""Our tokenizers as pipelines of the tokenizers library, the form in which transformers reads them; and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...files import write_atomically
from ...text.caption_tokenizer import ACCENTS, END, PAD, START, UNKNOWN, WORD, CaptionTokenizer
from ...text.clip_tokenizer import ClipTokenizer, clip_vocabulary
from ...text.tokenizer import Tokenizer
from .read import TOKENIZER, read_json

KNOWN_WORDS = "known_words"      # in tokenizer_config.json, which transformers keeps: words seen in training


def caption_pipeline(tokenizer: CaptionTokenizer) -> Any:
    """The same words to the same ids, as a `tokenizers.Tokenizer`."""
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
             "model_input_names": ["input_ids", "attention_mask"], KNOWN_WORDS: tokenizer.known_words}
    write_atomically(folder / TOKENIZER, lambda path: pipeline.save(str(path)))
    write_atomically(folder / "tokenizer_config.json", lambda path: path.write_text(
        json.dumps(about | special, indent=2) + "\n", encoding="utf-8"))


def read_tokenizer(path: str | Path, context_length: int) -> Tokenizer:
    """The tokenizer of a tokenizer.json that `write_tokenizer` or transformers wrote; also the folder that has it.

    Two kinds are known: a vocabulary of captions, as `CaptionTokenizer` has it, and CLIP's. `context_length`: most
    tokens of a text; the file does not say. Words seen in training come from the tokenizer_config.json beside it;
    without it all whole words of the vocabulary count as seen.

    Raises ValueError for a file of another kind.
    """
    path = Path(path)
    path = path / TOKENIZER if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"there is no tokenizer at {path}; give a tokenizer.json, or a folder that has one")
    model = read_json(path).get("model")
    ids = model.get("vocab") if isinstance(model, dict) else None
    if not isinstance(ids, dict) or set(ids.values()) != set(range(len(ids))):
        raise ValueError(f"{path} has no vocabulary with the ids 0, 1, 2, ...; expected a tokenizer.json of the "
                         "tokenizers library with a model of entries and ids")
    entries = sorted(ids, key=ids.__getitem__)
    if model.get("type") == "BPE" and entries[:ClipTokenizer.start_id] == _clip_entries():
        return ClipTokenizer(context_length)
    if model.get("type") == "WordPiece" and entries[:3] == [PAD, UNKNOWN, START] and entries[-1:] == [END]:
        config = path.with_name("tokenizer_config.json")
        known = read_json(config).get(KNOWN_WORDS) if config.is_file() else None
        return CaptionTokenizer(entries, known or [e for e in entries[3:-1] if not e.startswith("##")], context_length)
    raise ValueError(f"{path} has a vocabulary of {len(entries)} entries of the kind {model.get('type')}, which is "
                     f"neither CLIP's nor one of captions ({PAD}, {UNKNOWN}, {START}, words, {END}); give the "
                     "tokenizer of these weights: load(path, tokenizer=...)")


def _clip_entries() -> list[str]:
    """CLIP's entries in the order of their ids, without start and end, whose names differ."""
    decoder = clip_vocabulary().decoder
    return [decoder[i] for i in range(ClipTokenizer.start_id)]
