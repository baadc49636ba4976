"""The checks of the exercises: the solution passes, and each of these plausible wrong answers fails.

To add a notebook, add its wrong answers below: name of the function, then for each wrong answer its body, or a pair:
what is replaced in the solution, and by what. BEFORE lists the cells that its solutions and checks need.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import torch

from minigroupvit.data.scenes.make import make_scene
from minigroupvit.segmentation import steps as mask_steps

ROOT = Path(__file__).parent.parent
ZERO, ONE = "00_quickstart", "01_captions"
TWO, THREE, SIX = "02_patches_and_tokens", "03_grouping_block", "06_zero_shot_masks"
FOUR, FIVE = "04_two_losses", "05_training"
SEVEN, EIGHT = "07_group_emergence", "08_names_and_places"
NINE, TEN = "09_real_captions", "10_released_weights"
BEFORE = {
    ONE: ("cell-14", "cell-27", "cell-34", "cell-36"),
    TWO: ("cell-02", "cell-05", "cell-07", "cell-12", "ex-positions-check"),
    THREE: ("cell-06", "cell-09", "cell-11", "cell-19", "cell-23", "cell-33"),
    FOUR: ("four-imports",),
    FIVE: ("five-imports", "cell-02", "cell-36", "five-package"),
    EIGHT: ("eight-02", "eight-21b"),
    NINE: ("cell-15",),
}
WRONG = {
    (ZERO, "words_present"): {
        "more than least": ("shares[i] >= least", "shares[i] > least"),
        "the smallest first": ("reverse=True", "reverse=False"),
        "in the order of the words": ("for i in largest_first", "for i in range(len(words))"),
        "of the pixels that have a word": ("/ labels.numel()", "/ (labels >= 0).sum().item()"),
        "background as the last word": ("(labels == i)", "(labels % len(words) == i)"),
        "equal ones the other way round": ("sorted(range(len(words)), key=lambda i: shares[i], reverse=True)",
                                           "sorted(range(len(words)), key=lambda i: shares[i])[::-1]"),
        "numbers for words": ("[words[i] for", "[i for"),
    },
    (ONE, "my_prompts"): {
        "the first nouns": ("rng.sample(found, min(k, len(found)))", "found[:k]"),
        "with replacement": ("rng.sample(found, min(k, len(found)))", "[rng.choice(found) for _ in found[:k]]"),
        "takes the nouns out of the list": ("rng.sample(found, min(k, len(found)))",
                                            "[found.pop(rng.randrange(len(found))) for _ in range(min(k, len(found)))]"),
        "the first template": ("rng.choice(templates)", "templates[0]"),
        "one template for all": ("[rng.choice(templates).format(noun) for noun in drawn]",
                                 "(lambda t: [t.format(noun) for noun in drawn])(rng.choice(templates))"),
        "fewer than k": (" + [caption] * (k - len(prompts))", ""),
        "the caption first": "texts = right_my_prompts(caption, found, k, templates, rng)\n    return texts[::-1]",
        "random numbers of its own": ("rng.sample", "__import__('random').sample"),
        "bare nouns": ("rng.choice(templates).format(noun)", "noun"),
        "the package's": "return prompting.prompts_from_nouns(caption, found, k, templates, rng)",
    },
    (ONE, "my_ids"): {
        "no start": ('id_of["[START]"], ', ""),
        "no end": (', id_of["[END]"]]', "]"),
        "the end cut off": ("[:context_length - 2]", "[:context_length - 1]"),
        "one word too few": ("[:context_length - 2]", "[:context_length - 3]"),
        "not truncated": ("[:context_length - 2]", ""),
        "truncated at the beginning": ("[:context_length - 2]", "[-(context_length - 2):]"),
        "padded to the context length": ("max(len(row) for row in rows)", "context_length"),
        "padding first": ('row + [id_of["[PAD]"]] * (longest - len(row))', '[id_of["[PAD]"]] * (longest - len(row)) + row'),
        "the end for padding": ('[id_of["[PAD]"]]', '[id_of["[END]"]]'),
        "unknown words left out": ('[id_of.get(word, id_of["[UNK]"]) for word in split_words(text)]',
                                   "[id_of[word] for word in split_words(text) if word in id_of]"),
        "split at spaces": ("split_words(text)", "text.split()"),
        "the package's": "return CaptionTokenizer([*id_of], [*id_of], context_length)(texts)",
    },
    (ONE, "train_bpe"): {
        "the first of equal pairs": ("min(pairs, key=lambda pair: (-pairs[pair], entries.index(pair[0]), "
                                     "entries.index(pair[1])))", "pairs.most_common(1)[0][0]"),
        "the last of equal pairs": ("entries.index(pair[0]), entries.index(pair[1])",
                                    "-entries.index(pair[0]), -entries.index(pair[1])"),
        "ties by the first subword alone": (", entries.index(pair[1])))", "))"),
        "ties by the alphabet": ("entries.index(pair[0]), entries.index(pair[1])", "pair"),
        "each word once": ("count_pairs(spelling, counts)", "count_pairs(spelling, dict.fromkeys(counts, 1))"),
        "marks in the middle": ('.removeprefix("##")', ""),
        "the new one first": ("entries.append(best", "entries.insert(0, best"),
        "size counts the merges": ("while len(entries) < size", "while len(entries) < size + len(letters)"),
        "letters of the first word's spelling": ("in_letters(word)", "list(word)"),
        "the package's": "texts = [' '.join([word] * n) for word, n in counts.items()]\n"
                         "    return CaptionTokenizer.train(texts, size + 4).vocabulary[3:-1]",
    },
    (TWO, "my_embedding"): {
        "no bias": ("+ bias", ""),
        "channels last": ("cut(images, weight.shape[-1]) @ weight.flatten(1).T",
                          "cut(images, weight.shape[-1]) @ weight.permute(0, 2, 3, 1).flatten(1).T"),
        "patches transposed": ("weight.flatten(1)", "weight.transpose(2, 3).flatten(1)"),
        "column by column": ("cut(images, weight.shape[-1])", "cut(images.transpose(2, 3), weight.shape[-1])"),
        "still on the grid": "return F.conv2d(images, weight, bias, stride=weight.shape[-1])",
        "overlapping": "return F.conv2d(images, weight, bias).flatten(2).transpose(1, 2)",
    },
    (TWO, "my_positions"): {
        "x and y exchanged": ("(n % w)[:, None] * omega, (n // w)[:, None]", "(n // w)[:, None] * omega, (n % w)[:, None]"),
        "h for w": ("(n % w)[:, None] * omega, (n // w)", "(n % h)[:, None] * omega, (n // h)"),
        "the frequencies of text": ("(-torch.arange(D // 4) / (D // 4))", "(-torch.arange(D // 4) / (D // 2))"),
        "sines first": ("along_x.cos(), along_y.sin()", "along_y.sin(), along_x.cos()"),
        "no batch axis": ("dim=1)[None]", "dim=1)"),
        "the package's": "return image_encoder.sincos_positions((h, w), D)",
    },
    (TWO, "my_attention"): {
        "no scale": ("/ q.shape[-1] ** 0.5", ""),
        "scaled by the whole width": ("q.shape[-1] ** 0.5", "D ** 0.5"),
        "over the queries": ("softmax(dim=-1)", "softmax(dim=-2)"),
        "one head": ("num_heads, -1)", "1, -1)"),
        "heads not put back": ("(weights @ v).transpose(1, 2)", "(weights @ v)"),
        "no projection": ('F.linear(joined, w["attn.proj.weight"], w["attn.proj.bias"])', "joined"),
        "keys for queries": ("q, k, v =", "k, q, v ="),
        "heads interleaved": ("t.reshape(B, N, num_heads, -1).transpose(1, 2)",
                              "t.reshape(B, N, -1, num_heads).permute(0, 3, 1, 2)"),
        "the package's": "own = layers.Attention(x.shape[-1], num_heads)\n"
                         "    own.load_state_dict({name[5:]: value for name, value in w.items()})\n    return own(x)",
    },
    (TWO, "group_attention"): {
        "times the patches alone": ("weights.shape[-1]", "num_patches"),
        "columns of the groups": ("[:, num_patches:, :num_patches]", "[:, :num_patches, num_patches:].transpose(1, 2)"),
        "the first head": ("weights.mean(dim=1)", "weights[:, 0]"),
        "the sum of the heads": ("weights.mean(dim=1)", "weights.sum(dim=1)"),
        "normalised over the patches": "own = weights.mean(dim=1)[:, num_patches:, :num_patches]\n"
                                       "    return own / own.mean(dim=2, keepdim=True)",
    },
    (TWO, "uncut"): {
        "h and w exchanged": ("*grid,", "*grid[::-1],"),
        "no permute": "return patches.reshape(len(patches), -1, grid[0] * p, grid[1] * p)",
        "a patch transposed": ("permute(0, 3, 1, 4, 2, 5)", "permute(0, 3, 1, 5, 2, 4)"),
        "channels last": ("reshape(len(patches), *grid, -1, p, p)",
                          "reshape(len(patches), *grid, p, p, -1).permute(0, 1, 2, 5, 4, 3)"),
    },
    (THREE, "my_soft"): {
        "over the tokens": ("dim=1", "dim=2"),
        "no temperature": ("logits / temperature", "logits"),
        "times the temperature": ("logits / temperature", "logits * temperature"),
        "exponentials that overflow": "powers = (logits / temperature).exp()\n"
                                      "    return powers / powers.sum(dim=1, keepdim=True)",
        "the package's": "return grouping.soft_assignment(logits, temperature)",
    },
    (THREE, "my_straight_through"): {
        "the one-hot alone": "return my_one_hot(soft)",
        "the softmax alone": "return soft",
        "nothing detached": ("soft.detach()", "soft"),
        "all detached": ("+ soft", "+ soft.detach()"),
        "the wrong one detached": ("- soft.detach() + soft", "- soft + soft.detach()"),
        "the one-hot times the shares": "return my_one_hot(soft) * soft",
        "the package's": "return grouping.straight_through(soft)",
        "the package's, of its logarithm": "return grouping.hard_assignment(soft.log())",
    },
    (THREE, "my_merge"): {
        "the mean": (" + 1)", ")"),
        "the sum": "return assignment @ values",
        "at least 1": (" + 1)", ").clamp(min=1)"),
        "over the groups": ("dim=2, keepdim=True", "dim=1, keepdim=True"),
        "+ 1 for the numerator": "return (assignment @ values + 1) / (assignment.sum(dim=2, keepdim=True) + 1)",
        "the package's": "return grouping.merge(assignment, values)",
    },
    (THREE, "my_block"): {
        "noise in evaluation": (" * block.training", ""),
        "never noise": ("block.noise * block.training", "0.0"),
        "no scale": (" / q.shape[2] ** 0.5", ""),
        "the temperature forgotten": ("my_soft(logits, block.temperature)", "my_soft(logits)"),
        "always soft": ('block.assignment == "hard"', "False"),
        "always hard": ('block.assignment == "hard"', "True"),
        "the hard assignment returned": (")), soft", ")), shares"),
        "weights left out": ("weights is not None", "False"),
        "weights before the assignment": ("shares * weights[:, None]", "my_soft(logits * weights[:, None])"),
        "always the residual": ('block.residual == "projected"', "True"),
        "never the residual": ('block.residual == "projected"', "False"),
        "the norms exchanged": ("block.norm_x(tokens)", "block.norm_tokens(tokens)"),
        "no mixer": ("my_mixer(block.mlp_inter, block.norm_tokens(group_tokens))", "block.norm_tokens(group_tokens)[:, :4]"),
        "no cross-attention": ("block.pre_assign_attn(groups, tokens)", "groups"),
        "no projection": ("block.assign.proj(my_merge(shares, v))", "my_merge(shares, v)"),
        "no residual of the MLP": ("return segments + block", "return block"),
        "the package's": "segments, found = block(tokens, group_tokens, None, weights)\n    return segments, found.soft",
    },
    (THREE, "best_groups"): {
        "a share of 1 for each": ("1 / k", "1.0"),
        "no gradient": ("- soft.detach() + soft", "+ 0 * soft"),
        "the gradient of the best alone": "parts = torch.zeros_like(soft).scatter(1, soft.topk(k, dim=1).indices, 1 / k)\n"
                                          "    return parts * (1 + soft - soft.detach())",
        "by a threshold": "parts = (soft >= soft.topk(k, dim=1).values[:, -1:]) / k\n    return parts - soft.detach() + soft",
        "the shares themselves": "own = torch.zeros_like(soft).scatter(1, soft.topk(k, dim=1).indices, 1.0) * soft\n"
                                 "    return own / own.sum(dim=1, keepdim=True)",
        "over the tokens": ("scatter(1, soft.topk(k, dim=1)", "scatter(2, soft.topk(k, dim=2)"),
    },
    (FOUR, "causal_weights"): {
        "no mask": (" + mask", ""),
        "the token itself masked, too": ("triu(1)", "triu(0)"),
        "the past masked": ("triu(1)", "tril(-1)"),
        "no scale": (" / d ** 0.5", ""),
        "over the queries": ("softmax(dim=-1)", "softmax(dim=-2)"),
        "a finite mask": ('float("-inf")', "-1.0"),
        "a mask after the softmax": "return (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(dim=-1).tril()",
        "the logits": (").softmax(dim=-1)", ")"),
    },
    (FOUR, "pooled"): {
        "the last place": "return x[:, -1]",
        "the start token": "return x[:, 0]",
        "the mean": "return x.mean(dim=1)",
        "the mean of the text": "return (x * (ids > 0)[..., None]).sum(dim=1) / (ids > 0).sum(dim=1, keepdim=True)",
        "the largest of each channel": "return x.amax(dim=1)",
        "before the end token": ("ids.argmax(dim=1)", "ids.argmax(dim=1) - 1"),
        "the place of the first text": ("ids.argmax(dim=1)", "ids[0].argmax()"),
        "all pairs": ("torch.arange(len(ids), device=x.device)", ":"),
    },
    (FOUR, "my_image_text_loss"): {
        "images alone": ("of_images + of_captions", "2 * of_images"),
        "captions alone": ("of_images + of_captions", "2 * of_captions"),
        "the sum of both directions": (" / 2", ""),
        "the sum over the batch": (".mean()", ".sum()"),
        "the wrong sign": ("return -", "return "),
        "probabilities without logarithm": "both = logits.softmax(dim=1) + logits.softmax(dim=0)\n"
                                           "    return 1 - both.diagonal().mean() / 2",
        "one softmax over all": "return -logits.flatten().log_softmax(dim=0).view_as(logits).diagonal().mean()",
        "not the own": "return -(logits.log_softmax(dim=1) + logits.log_softmax(dim=0)).mean() / 2",
        "the package's": "return losses.image_text_loss(logits, torch.eye(len(logits)), 1.0)",
    },
    (FOUR, "my_multi_label_loss"): {
        "rows that sum to more than 1": ("hits / hits.sum(dim=1, keepdim=True)", "hits"),
        "columns that sum to more than 1": ("hits / hits.sum(dim=0, keepdim=True)", "hits"),
        "one direction": ("(image_to_prompt + prompt_to_image) / 2", "image_to_prompt"),
        "the sum of both directions": (" + prompt_to_image) / 2", " + prompt_to_image)"),
        "the sum inside": "rows, columns = ((logits.softmax(dim=d) * positives).sum(dim=d) for d in (1, 0))\n"
                          "    return -(rows.log().mean() + columns.log().mean()) / 2",
        "the mean over all pairs": "both = logits.log_softmax(dim=1) + logits.log_softmax(dim=0)\n"
                                   "    return -both[positives].mean() / 2",
        "the first positive": "first = positives.float().argmax(dim=1)\n"
                              "    return -logits.log_softmax(dim=1)[torch.arange(len(logits)), first].mean()",
        "each positive by itself": "return F.binary_cross_entropy_with_logits(logits, positives.float())",
        "the package's": "M = logits.shape[1]\n    prompts = torch.eye(M).view(len(logits), -1, M)\n"
                         "    return losses.multi_label_loss(logits, prompts, 1.0, positives=positives)",
    },
    (FOUR, "forgiving_loss"): {
        "a logit of 0": ('float("-inf")', "0.0"),
        "the diagonal, too": (" & ~torch.eye(len(logits)).bool()", ""),
        "nothing left out": "return my_image_text_loss(logits)",
        "the transposed table": ("also_true &", "also_true.T &"),
        "in rows alone": "out = right_forgiving_loss(logits, also_true)\n    own = ~torch.eye(len(logits)).bool()\n"
                         "    rows = logits.masked_fill(also_true & own, -math.inf).log_softmax(dim=1).diagonal()\n"
                         "    return -(rows + logits.log_softmax(dim=0).diagonal()).mean() / 2",
        "counted as right": "return my_multi_label_loss(logits, also_true | torch.eye(len(logits)).bool())",
        "images left out as a whole": "left = ~(also_true & ~torch.eye(len(logits)).bool()).any(dim=1)\n"
                                      "    return my_image_text_loss(logits[left][:, left])",
        "no gradient": ("logits.masked_fill", "logits.detach().masked_fill"),
    },
    (FIVE, "my_rate"): {
        "the first step without a rate": ("(k + 1) / warmup", "k / warmup"),
        "a cosine over all steps": ("(k - warmup) / (steps - warmup)", "k / steps"),
        "down to zero": ("min_lr + (lr - min_lr)", "lr"),
        "half a cosine twice": ("math.pi * progress", "2 * math.pi * progress"),
        "a straight line": ("(1 + math.cos(math.pi * progress)) / 2", "(1 - progress)"),
        "no warmup": ("k < warmup", "False"),
        "the warmup a step too long": ("k < warmup", "0 < warmup and k <= warmup"),
        "the package's": "return optimizer.learning_rate(k, steps, lr, warmup, min_lr)",
    },
    (FIVE, "my_losses"): {
        "no clamp": (".clamp(max=100)", ""),
        "the logarithm itself": ("model.logit_scale.exp()", "model.logit_scale"),
        "one scale for both": ("model.multi_label_logit_scale", "model.logit_scale"),
        "a scale without gradient": ("model.logit_scale.exp()", "model.logit_scale.exp().detach()"),
        "the parameter clamped": ("exp().clamp(max=100)", "clamp(max=100).exp()"),
        "apart": "B, K = len(batch.captions), len(batch.prompts[0])\n"
                 "    encode = lambda texts: model.encode_text(model.tokenizer(texts))\n"
                 "    prompts = encode([p for own in batch.prompts for p in own]).unflatten(0, (B, K))\n"
                 "    scales = [x.exp().clamp(max=100) for x in (model.logit_scale, model.multi_label_logit_scale)]\n"
                 "    z = model.encode_image(batch.images)[0]\n"
                 "    a = losses.image_text_loss(z, encode(batch.captions), scales[0])\n"
                 "    b = losses.multi_label_loss(z, prompts, scales[1])\n"
                 "    return {'image_text': a, 'multi_label': b, 'loss': a + b}",
        "prompts in another order": ("for own in batch.prompts", "for own in zip(*batch.prompts)"),
        "the mean of both": ("image_text + multi_label}", "(image_text + multi_label) / 2}"),
        "the package's": "return loop.training_loss(model, batch, loop.TrainConfig())",
        "the package's scale": ("model.logit_scale.exp().clamp(max=100)", "model.scale()"),
    },
    (FIVE, "my_step"): {
        "the rate never set": ('group["lr"] = ', "_ = "),
        "one rate for all groups": ('group["share"] * ', ""),
        "the rate of the next step": ("my_rate(k,", "my_rate(k + 1,"),
        "old gradients stay": ("    adamw.zero_grad()\n", ""),
        "no gradient left": ("mixed.scaler.unscale_(adamw)", "mixed.scaler.unscale_(adamw); adamw.zero_grad()"),
        "the image-text loss alone": ('found["loss"]).backward', 'found["image_text"]).backward'),
        "no clipping": ("    torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)\n", ""),
        "each number clipped": ("clip_grad_norm_", "clip_grad_value_"),
        "clipped before it is unscaled": (
            "mixed.scaler.unscale_(adamw)",
            "torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm); mixed.scaler.unscale_(adamw)"),
        "no scaler": ('mixed.scaler.scale(found["loss"]).backward()', 'found["loss"].backward()'),
        "no step": ("    mixed.scaler.step(adamw)\n", ""),
        "tensors": ("loss.item()", "loss"),
    },
    (FIVE, "my_train"): {
        "no copy": ("copy.deepcopy(", "("),
        "a shallow copy": ("copy.deepcopy(", "copy.copy("),
        "one step too few": ('"step": k + 1', '"step": k'),
        "a fresh optimizer": ('        adamw.load_state_dict(saved["adamw"])\n', ""),
        "the weights not restored": ('        model.load_state_dict(saved["model"])\n', ""),
        "from the beginning": ('saved.get("step", 0)', "0"),
        "not seeded": ("        torch.manual_seed(config.seed * 1_000_003 + k)\n", ""),
        "the same noise in each step": ("config.seed * 1_000_003 + k", "config.seed"),
        "the same batch in each step": ("data.batch(k,", "data.batch(0,"),
        "saved after each step": ("(k + 1) % config.save_every == 0 or k + 1 == config.steps", "True"),
        "not saved in the end": (" or k + 1 == config.steps", ""),
        "in evaluation mode": ("    model.train()\n", ""),
        "the package's": "loop.train(model, data, config, record.Recorder(tempfile.mkdtemp(), config, progress=False))",
    },
    (FIVE, "backward_in_parts"): {
        "a loss for each part": "for i, x in zip(images.split(size), ids.split(size)):\n"
                                "        z, t = model.encode_image(i)[0], model.encode_text(x)\n"
                                "        loss = losses.image_text_loss(z, t, model.scale())\n"
                                "        (loss * len(i) / len(images)).backward()",
        "all at once": "z, t = model.encode_image(images)[0], model.encode_text(ids)\n"
                       "    losses.image_text_loss(z, t, model.scale()).backward()",
        "all graphs kept": "pairs = [(model.encode_image(i)[0], model.encode_text(x))\n"
                           "             for i, x in zip(images.split(size), ids.split(size))]\n"
                           "    z, t = (torch.cat(side) for side in zip(*pairs))\n"
                           "    losses.image_text_loss(z, t, model.scale()).backward()",
        "no gradient of the scale": ("model.scale())", "model.scale().detach())"),
        "images alone": ("[model.encode_image(i)[0], model.encode_text(x)], [dz, dt]", "[model.encode_image(i)[0]], [dz]"),
        "the gradients exchanged": ("[dz, dt])", "[dt, dz])"),
        "full parts alone": ("list(zip(images.split(size), ids.split(size)))",
                             "list(zip(images.split(size), ids.split(size)))[:len(images) // size]"),
    },
    (SIX, "my_maps"): {
        "the last stage alone": "return assignments[-1].unflatten(-1, grid)",
        "the first stage alone": "return assignments[0].unflatten(-1, grid)",
        "two stages at most": "return right_my_maps(assignments[:2], grid)",
        "hard assignments": "hard = [(soft == soft.amax(dim=1, keepdim=True)).float() for soft in assignments]\n"
                            "    return right_my_maps(hard, grid)",
        "columns for rows": "return right_my_maps(assignments, grid[::-1])",
        "the package's": "from types import SimpleNamespace\n"
                         "    seen = SimpleNamespace(groupings=[SimpleNamespace(soft=soft) for soft in assignments], grid=grid,\n"
                         "                           segment_tokens=assignments[-1])\n"
                         "    return mask_steps.group_maps(seen)[-1]",
    },
    (SIX, "my_groups"): {
        "the largest first": "return F.interpolate(maps.argmax(dim=1, keepdim=True).float(), size=size)[:, 0].long()",
        "nearest": "return F.interpolate(maps, size=size).argmax(dim=1)",
        "corners aligned": "return F.interpolate(maps, size=size, mode='bilinear', align_corners=True).argmax(dim=1)",
        "bicubic": "return F.interpolate(maps, size=size, mode='bicubic').argmax(dim=1)",
        "values for numbers": "return F.interpolate(maps, size=size, mode='bilinear').amax(dim=1)",
        "the package's": "return mask_steps.pixel_groups(maps, size)",
    },
    (SIX, "my_classes"): {
        "each sentence normalised": "vectors = F.normalize(embed([t.format(n) for n in names for t in templates]), dim=-1)\n"
                                    "    return F.normalize(vectors.view(len(names), len(templates), -1).mean(dim=1), dim=-1)",
        "not normalised": "return embed([t.format(n) for n in names for t in templates]).view(len(names), len(templates), -1)"
                          ".mean(dim=1)",
        "the first template": "return right_my_classes(embed, names, templates[:1])",
        "bare names": "return right_my_classes(embed, names, ('{}',))",
        "templates before names": "vectors = embed([t.format(n) for t in templates for n in names])\n"
                                  "    return F.normalize(vectors.view(len(names), len(templates), -1).mean(dim=1), dim=-1)",
        "the package's": "return mask_steps.embed_classes(embed, names, templates)",
    },
    (SIX, "my_scores"): {
        "one softmax": "return (scale * segments @ classes.T).softmax(dim=-1)",
        "the kept alone": "p = right_my_scores(segments, image, classes, scale, top)\n"
                          "    return (p.sqrt() / p.sqrt().sum(dim=-1, keepdim=True))",
        "the image's classes of the whole batch": "same = image.mean(dim=0, keepdim=True).expand_as(image)\n"
                                                  "    return right_my_scores(segments, same, classes, scale, top)",
        "the group's own best": "p = (scale * segments @ classes.T).softmax(dim=-1)\n"
                                "    p = p * (p >= p.topk(min(top, len(classes))).values[..., -1:])\n"
                                "    return p * p / p.sum(dim=-1, keepdim=True)",
        "without the scale": "return right_my_scores(segments, image, classes, 1.0, top)",
        "always five": "return right_my_scores(segments, image, classes, scale)",
        "more than there are": "(image @ classes.T).topk(top); return right_my_scores(segments, image, classes, scale, top)",
        "the package's": "return mask_steps.score_groups(segments, image, classes, scale, top)",
    },
    (SIX, "my_labels"): {
        "no limit by the image": "best, label = scores.max(dim=-1)\n"
                                 "    return label.masked_fill(best < threshold, -1).gather(1, groups.flatten(1))"
                                 ".view_as(groups)",
        "the best of all images": "best, label = scores.max(dim=-1)\n    label = label.masked_fill(best < min(threshold, "
                                  "best.max()), -1)\n    return label.gather(1, groups.flatten(1)).view_as(groups)",
        "at the limit too": "best, label = scores.max(dim=-1)\n    limit = best.amax(dim=1, keepdim=True).clamp(max=threshold)\n"
                            "    return label.masked_fill(best <= limit, -1).gather(1, groups.flatten(1)).view_as(groups)",
        "background as 0": "return right_my_labels(groups, scores, threshold).clamp(min=0)",
        "no background": "return right_my_labels(groups, scores)",
        "the package's": "return mask_steps.label_pixels(mask_steps.largest_scores(groups, scores), scores, threshold)",
    },
    (SIX, "my_iou"): {
        "recall": "return torch.stack([((labels == c) & (truth == c)).sum() / (truth == c).sum() for c in range(num_classes)])",
        "Dice": "return torch.stack([2 * ((labels == c) & (truth == c)).sum() / ((labels == c).sum() + (truth == c).sum())\n"
                "                        for c in range(num_classes)])",
        "the mean over images": "of_each = [right_my_iou(*one, num_classes) for one in zip(labels, truth)]\n"
                                "    return torch.stack(of_each).nanmean(dim=0)",
        "0 for what is nowhere": "return right_my_iou(labels, truth, num_classes).nan_to_num()",
        "the share of right pixels": "return (labels == truth).float().mean().expand(num_classes)",
        "the package's": "from minigroupvit.evaluation.metrics import MaskMetrics as M",
    },
    (SIX, "my_balance"): {
        "means of the batch": "shares = F.normalize(scores, p=1, dim=1)\n"
                              "    return F.normalize(shares / (shares.mean(dim=(0, 2, 3), keepdim=True) + least), p=1, dim=1)",
        "not normalised first": "return F.normalize(scores / (scores.mean(dim=(2, 3), keepdim=True) + least), p=1, dim=1)",
        "not normalised last": "shares = F.normalize(scores, p=1, dim=1)\n"
                               "    return shares / (shares.mean(dim=(2, 3), keepdim=True) + least)",
        "nothing added": "return right_my_balance(scores, 0.0)",
        "nothing": "return scores",
        "the package's": "return mask_steps.balance_scores(scores, least)",
    },
    (SEVEN, "effective_groups"): {
        "soft shares for owners": "p = shares.mean(dim=(0, 2)); return torch.special.entr(p).sum().exp().item()",
        "how many groups own anything": "return float(len(shares.argmax(dim=1).unique()))",
        "by image": "return sum(right_effective_groups(one[None]) for one in shares) / len(shares)",
        "entropy without the exponential": "return math.log(right_effective_groups(shares))",
        "bits": "return math.log2(right_effective_groups(shares)) * 1.0",
        "the same number always": "return 7.0",
    },
    (SEVEN, "without_colour"): {
        "the whole image": "grey = subject.image.float().mean(dim=0, keepdim=True).to(torch.uint8)\n"
                           "    return grey.expand_as(subject.image), subject.mask",
        "the background in its place": "grey = subject.image.float().mean(dim=0, keepdim=True).to(torch.uint8)\n"
                                       "    return torch.where(subject.mask, subject.image, grey), subject.mask",
        "in place": "subject.image[:, subject.mask] = subject.image[:, subject.mask].float().mean(0).to(torch.uint8)\n"
                    "    return subject.image, subject.mask",
        "a sum that overflows": "grey = subject.image.sum(dim=0, keepdim=True, dtype=torch.uint8) // 3\n"
                                "    return torch.where(subject.mask, grey, subject.image), subject.mask",
        "one channel": "return torch.where(subject.mask, subject.image[:1], subject.image), subject.mask",
        "floats": "grey = subject.image.float().mean(dim=0, keepdim=True).floor()\n"
                  "    return torch.where(subject.mask, grey, subject.image.float()), subject.mask",
        "one grey for the whole object": "grey = subject.image[:, subject.mask].float().mean().to(torch.uint8)\n"
                                         "    return torch.where(subject.mask, grey, subject.image), subject.mask",
    },
    (SEVEN, "told"): {
        "over the entropy of the values": "return right_told(values, groups)",
        "over the mean of both": "a, b = right_told(groups, values), right_told(values, groups)\n    return 2 * a * b / (a + b)",
        "not divided": "return right_told(groups, values) * uncertainty(groups).item()",
        "how often the commonest group is right": "return 1 - len(groups.unique()) / len(groups)",
        "scikit-learn's": "from sklearn.metrics import homogeneity_score\n    return homogeneity_score(groups, values)",
    },
    (SEVEN, "told_beyond"): {
        "a difference of two": "return told(groups, values) - told(groups, known)",
        "what both tell": "return told(groups, known * (values.max() + 1) + values)",
        "nothing taken off": "return told(groups, values)",
        "the other way": "return told(groups, known * (values.max() + 1) + values) - told(groups, values)",
    },
    (EIGHT, "make_segments"): {
        "no residual": "segments = block.assign.proj(shares @ block.assign.v_proj(tokens) / (shares.sum(-1, keepdim=True) + 1))\n"
                       "    return segments + block.mlp_channels(block.norm_new_x(segments))",
        "always the group tokens": "segments = block.assign.proj(shares @ block.assign.v_proj(tokens)\n"
                                   "                                 / (shares.sum(-1, keepdim=True) + 1)) + groups\n"
                                   "    return segments + block.mlp_channels(block.norm_new_x(segments))",
        "sums for means": "return right_make_segments(block, tokens, groups, shares / (shares.sum(-1, keepdim=True) + 1))",
        "without the MLP's residual": "segments = right_make_segments(block, tokens, groups, shares)\n"
                                      "    return block.mlp_channels(block.norm_new_x(segments))",
        "the package's": "segments = block.assign(shares, tokens)\n"
                         "    segments = segments + {'projected': groups, 'learned': getattr(block, 'residual_tokens', 0),\n"
                         "                           'none': 0}[block.residual]\n"
                         "    return segments + block.mlp_channels(block.norm_new_x(segments))",
    },
    (EIGHT, "naming"): {
        "mIoU alone": "return miou(labels, masks, num_classes).item()",
        "upside down": "return 1 / right_naming(labels, groups, masks, num_classes)",
        "groups of all images together": "oracle = torch.empty_like(masks)\n    for g in groups.unique():\n"
                                         "        oracle[groups == g] = masks[groups == g].mode().values\n"
                                         "    return miou(labels, masks, num_classes).item() / miou(oracle, masks, num_classes)",
        "the mean over images": "return sum(right_naming(l[None], g[None], m[None], num_classes)\n"
                                "               for l, g, m in zip(labels, groups, masks)) / len(masks)",
        "the share of right pixels": "return (labels == masks).float().mean().item()",
        "the package's": "oracle = oracle_labels(groups, masks, num_classes)\n"
                         "    return (miou(labels, masks, num_classes) / miou(oracle, masks, num_classes)).item()",
    },
    (EIGHT, "names_kept"): {
        "all segments": "return right_names_kept(before, after, maps, 0.0)",
        "sums for means": "return (before == after)[maps.sum(dim=(2, 3)) >= least].float().mean().item()",
        "the mean over images": "return sum(right_names_kept(*(x[None] for x in one), least)\n"
                                "               for one in zip(before, after, maps) if (one[2].mean((1, 2)) >= least).any()) / 4",
        "by size": "areas = maps.mean(dim=(2, 3)) * (maps.mean(dim=(2, 3)) >= least)\n"
                   "    return ((before == after) * areas).sum().item() / areas.sum().item()",
        "those that change": "return 1 - right_names_kept(before, after, maps, least)",
    },
    (EIGHT, "misplaced"): {
        "the classes of all images": "wrong = labels != masks\n"
                                     "    return ((wrong & torch.isin(labels, masks)).sum() / wrong.sum().clamp(min=1)).item()",
        "of all pixels": "return right_misplaced(labels, masks) * (labels != masks).float().mean().item()",
        "right pixels too": "return torch.stack([torch.isin(*one) for one in zip(labels, masks)]).float().mean().item()",
        "the mean over images": "return sum(right_misplaced(a[None], b[None]) for a, b in zip(labels, masks)) / len(labels)",
        "divides by zero": "wrong = labels != masks\n    found = torch.stack([torch.isin(*one) for one in zip(labels, masks)])\n"
                           "    return ((found & wrong).sum() / wrong.sum()).item()",
    },
    (NINE, "my_recall"): {
        "images look for captions": "nearest = (images @ texts.T).topk(k, dim=1).indices\n"
                                    "    right = owner[nearest] == torch.arange(len(images))[:, None]\n"
                                    "    return right.any(dim=1).double().mean().item()",
        "the first alone": ("topk(k, dim=1)", "topk(1, dim=1)"),
        "the farthest": ("topk(k, dim=1)", "topk(k, dim=1, largest=False)"),
        "precision": (".any(dim=1)", ""),
        "found at all by any caption": "nearest = (texts @ images.T).topk(k, dim=1).indices\n"
                                       "    found = (nearest == owner[:, None]).any(dim=1)\n"
                                       "    return sum(bool(found[owner == n].any()) for n in range(len(images))) / len(images)",
        "the mean over images": "nearest = (texts @ images.T).topk(k, dim=1).indices\n"
                                "    found = (nearest == owner[:, None]).any(dim=1).double()\n"
                                "    return sum(found[owner == n].mean().item() for n in range(len(images))) / len(images)",
        "caption n belongs to image n": ("owner[:, None]", "torch.arange(len(texts))[:, None]"),
        "always 1": "return 1.0",
        "the package's": "return image_level.recall(images, texts, owner, (k,))[f'text_to_image_recall_{k}']",
    },
    (NINE, "median_rank"): {
        "always 1": "return 1",
        "always 1.5": "return 1.5",
        "the lower of two": ("ranks.double().quantile(0.5).item()", "ranks.median().item()"),
        "the mean rank": ("quantile(0.5)", "mean()"),
        "counted from 0": (">= own", "> own"),
        "equal cosines count for the model": (".sum(dim=1)", ".sum(dim=1) - (scores == own).sum(dim=1) + 1"),
        "images look for captions": "scores = images @ texts.T\n"
                                    "    own = torch.stack([scores[n, (owner == n) | ~(owner == n).any()].max()\n"
                                    "                       for n in range(len(images))])\n"
                                    "    return (scores >= own[:, None]).sum(dim=1).double().quantile(0.5).item()",
        "caption n belongs to image n": ("owner[:, None]", "torch.arange(len(texts))[:, None] % len(images)"),
        "from below": (">= own", "<= own"),
    },
    (TEN, "split_qkv"): {
        "views": (".clone()", ""),
        "keys first": ('"qkv"', '"kqv"'),
        "by columns": ("weight.chunk(3)", "weight.chunk(3, dim=-1)"),
        "every third row": ("weight.chunk(3)", "(weight[n::3] for n in range(3))"),
        "channels backwards": (".clone()", ".flip(-1).clone()"),
        "tensors alone": "return [part.clone() for part in weight.chunk(3)]",
        "whole names": ("_proj", "_proj.weight"),
    },
    (TEN, "translate"): {
        "dots mean any character": ('re.escape(pattern).replace(r"\\#", r"(\\d+)").replace(r"\\*", "(.+)")',
                                    'pattern.replace("*", "(.+)").replace("#", r"(\\d+)")'),
        "the beginning is enough": ("re.fullmatch", "re.match"),
        "anywhere": ("re.fullmatch", "re.search"),
        "any text for a number": (r'r"(\d+)"', '"(.+?)"'),
        "one digit": (r'(\d+)', r'(\d)'),
        "nothing after the dot": ('"(.+)"', '"(.*)"'),
        "numbers from 0": ("iter(found.groups())", "iter(['0'] * 9)"),
        "in the other order": ("iter(found.groups())", "iter(found.groups()[::-1])"),
        "what does not fit stays": ("return None", "return name"),
        "words replaced": "return name.replace('stages', 'layers').replace('grouping', 'downsample')",
    },
}


def blank(notebook: str, name: str) -> tuple[str, str, str]:
    """The cells of an exercise: what the student gets, the solution, and the first check after it."""
    cells = nbformat.read(ROOT / "notebooks" / f"{notebook}.ipynb", 4).cells
    tagged = [(next(iter(cell.metadata.get("tags", [""])), ""), cell.source) for cell in cells]
    start = next(i for i, (tag, source) in enumerate(tagged) if tag == "exercise" and f"def {name}(" in source)
    exercise = tagged[start][1]
    solution, check = (next(source for tag, source in tagged[start:] if tag == kind) for kind in ("solution", "check"))
    return exercise, solution, check


def names_before(notebook: str) -> dict[str, object]:
    """What the cells before an exercise have made, as far as the exercises need it."""
    names: dict[str, object] = {"torch": torch, "math": math, "F": torch.nn.functional, "Tensor": torch.Tensor,
                                "mask_steps": mask_steps, "make_scene": make_scene, "Counter": Counter,
                                "place": SimpleNamespace(pick=lambda choices: choices["tiny"])}
    for cell in nbformat.read(ROOT / "notebooks" / f"{notebook}.ipynb", 4).cells:
        wanted = {"exercise", "solution"} & {*cell.metadata.get("tags", [])} or cell.id in BEFORE.get(notebook, ())
        if wanted and cell.cell_type == "code":                  # one exercise may use another one's function
            exec(cell.source, names)
    # The right answers, for the wrong ones to use.
    return names | {f"right_{name}": names[name] for key, name in WRONG if key == notebook}


@pytest.mark.parametrize(("notebook", "name"), WRONG)
def test_the_solution_passes_and_the_stub_does_not(notebook, name):
    exercise, solution, check = blank(notebook, name)
    names = names_before(notebook)
    exec(solution, names)
    exec(check, names)
    exec(exercise, names)
    with pytest.raises(NotImplementedError):
        exec(check, names)


@pytest.mark.parametrize(("notebook", "name", "wrong"), [(*key, wrong) for key, found in WRONG.items() for wrong in found])
def test_a_wrong_answer_fails(notebook, name, wrong):
    exercise, solution, check = blank(notebook, name)
    names, answer = names_before(notebook), WRONG[notebook, name][wrong]
    if isinstance(answer, tuple):
        source = solution.replace(*answer)
        assert source != solution, "what is to be replaced is not in the solution"
    else:
        header = next(line for line in exercise.splitlines() if line.startswith(f"def {name}("))
        source = f"{header}\n    {answer}"
    exec(source, names)
    with pytest.raises((AssertionError, RuntimeError, TypeError, ValueError)):
        exec(check, names)
