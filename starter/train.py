#!/usr/bin/env python3
"""Trains the starter model: a small FLUX.1 (CLIP, T5, transformer, autoencoder), from nothing, on drawn scenes.

    python train.py WORK vae    --minutes 20    # 1. autoencoder: 256x256 picture <-> 16x16x16 latents
    python train.py WORK flow   --minutes 70    # 2. text encoders and transformer by rectified flow
    python train.py WORK save   OUT             # 3. the pipeline in diffusers' published layout, float16
    python train.py WORK resume OUT             #    published weights back into WORK, to go on from

Every stage keeps what it learned in WORK, may be stopped at any time, and goes on from there. The learning rate follows
the share of its minutes that has passed, so a slow machine trains less, not wrongly. All classes are diffusers' and
transformers' own; the folder that `save` writes loads with `FluxPipeline.from_pretrained`.
"""

import argparse
import json
import math
import os
import random
import time
from pathlib import Path

import diffusers
import numpy as np
import torch
import torch.nn.functional as F
import transformers
from diffusers.models.embeddings import apply_rotary_emb
from PIL import Image

import scenes
import tokens

LATENT_CHANNELS = 16
VAE_FACTOR = 16
COLORS = tuple(scenes.PALETTE)
TEXT_LENGTH = 32  # T5 tokens; the tokenizer's model_max_length, so the engine reads it from the folder
T5_WIDTH = 128
CLIP_WIDTH = 64
# numbers of half the size pay only where the processor multiplies them itself
FAST_HALF = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
EARLY = 0.35  # share of training close to pure noise
SIZES = ((256, 256),) * 48 + ((320, 256), (256, 320), (384, 256), (256, 384), (384, 384), (512, 512))


# -------------------------------------------------------------------------------------------------- models
def make_vae():
    return diffusers.AutoencoderKL(
        in_channels=3, out_channels=3, down_block_types=("DownEncoderBlock2D",) * 5,
        up_block_types=("UpDecoderBlock2D",) * 5, block_out_channels=(16, 16, 32, 64, 64), layers_per_block=1,
        norm_num_groups=1, act_fn="silu", latent_channels=LATENT_CHANNELS, sample_size=256, use_quant_conv=False,
        use_post_quant_conv=False, mid_block_add_attention=True, scaling_factor=1.0, shift_factor=0.0)


def start_well(vae):
    """Unit gain on the way through, nearly silent residual branches: ten times faster than torch's default start."""
    for name, module in vae.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            torch.nn.init.zeros_(module.bias)
            if name.endswith("conv2"):
                module.weight.data *= 0.2
    return vae


def make_transformer():
    return diffusers.FluxTransformer2DModel(
        patch_size=1, in_channels=4 * LATENT_CHANNELS, num_layers=1, num_single_layers=5, attention_head_dim=32,
        num_attention_heads=6, joint_attention_dim=T5_WIDTH, pooled_projection_dim=CLIP_WIDTH, guidance_embeds=True,
        axes_dims_rope=(8, 12, 12))


def make_text_encoders(clip_vocab, t5_vocab):
    clip = transformers.CLIPTextModel(transformers.CLIPTextConfig(
        vocab_size=clip_vocab, hidden_size=CLIP_WIDTH, intermediate_size=2 * CLIP_WIDTH, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=77, projection_dim=CLIP_WIDTH, hidden_act="quick_gelu",
        bos_token_id=0, eos_token_id=2, pad_token_id=1))
    t5 = transformers.T5EncoderModel(transformers.T5Config(
        vocab_size=t5_vocab, d_model=T5_WIDTH, d_kv=32, d_ff=2 * T5_WIDTH, num_layers=2, num_heads=4,
        relative_attention_num_buckets=32, relative_attention_max_distance=128, feed_forward_proj="gated-gelu",
        dropout_rate=0.0, tie_word_embeddings=False, is_encoder_decoder=True, pad_token_id=0, eos_token_id=1,
        decoder_start_token_id=0))
    return clip, t5


@torch.no_grad()
def teach_positions(transformer):
    """Gives four heads of every block a sense of place to start from.

    FLUX knows where a token is only through rotary angles, and text tokens all sit at the origin: a query that always
    holds the same vector scores them by cos and sin of its own row or column. Small models take very long to find that
    out, so their biases begin there.
    """
    width = transformer.config.attention_head_dim
    still, rows, _ = transformer.config.axes_dims_rope
    for head, axis, phase in ((0, 0, 0.0), (1, 0, 0.5 * math.pi), (2, 1, 0.0), (3, 1, 0.5 * math.pi)):
        pair = head * width + still + axis * rows + 2  # the second slowest-but-useful frequency, 0.2 per token
        for block in [*transformer.transformer_blocks, *transformer.single_transformer_blocks]:
            attention = block.attn
            for name in ("to_q", "add_q_proj", "to_k", "add_k_proj"):
                linear = getattr(attention, name, None)
                if linear is None:
                    continue
                turn = phase if "q" in name else 0.0
                linear.bias[pair] += 2.5 * math.cos(turn)
                linear.bias[pair + 1] -= 2.5 * math.sin(turn)
    return transformer


@torch.no_grad()
def teach_neighbours(t5):
    """Lets each head look at one neighbour of a word to start from: one before, one after, two before, two after.

    T5 knows the order of words only through this table. Left at chance it stays there, and a sentence is a bag of words:
    "white star on black" and "black star on white" are the same.
    """
    table = t5.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight  # [buckets, heads]
    after = t5.config.relative_attention_num_buckets // 2  # the second half of the buckets is for words after
    for head, bucket in enumerate((1, after + 1, 2, after + 2)):
        table[bucket, head] += 4.5
    return t5


class Painter(torch.nn.Module):
    """Everything that turns a caption and noisy latents into a velocity."""

    def __init__(self, work):
        super().__init__()
        self.tokenizers = tokens.load(work / "tokenizers")
        self.clip, self.t5 = make_text_encoders(*(tokens.size(t) for t in self.tokenizers))
        teach_neighbours(self.t5)
        self.transformer = teach_positions(make_transformer())

    def tokenize(self, captions):
        clip, t5 = self.tokenizers
        a = clip(captions, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
        b = t5(captions, padding="max_length", max_length=TEXT_LENGTH, truncation=True, return_tensors="pt").input_ids
        return a, b

    def encode(self, ids):
        return self.clip(ids[0]).pooler_output, self.t5(ids[1])[0]

    def forward(self, x, t, text, guidance):
        """x [B, C, h, w], t and guidance [B] -> velocity [B, C, h, w]."""
        b, c, h, w = x.shape
        packed = x.view(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(b, h * w // 4, c * 4)
        image_ids = torch.zeros(h // 2, w // 2, 3)
        image_ids[..., 1] += torch.arange(h // 2)[:, None]
        image_ids[..., 2] += torch.arange(w // 2)[None, :]
        pooled, sequence = text
        v = self.transformer(
            hidden_states=packed, timestep=t, guidance=guidance, pooled_projections=pooled,
            encoder_hidden_states=sequence, txt_ids=torch.zeros(sequence.shape[1], 3),
            img_ids=image_ids.reshape(-1, 3), return_dict=False)[0]
        return v.view(b, h // 2, w // 2, c, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(b, c, h, w)


# ---------------------------------------------------------------------------------------------------- tools
class Clock:
    """The share of a stage's minutes that has passed, and the learning rate and report that follow from it."""

    def __init__(self, minutes, spent=0.0):
        self.budget, self.start, self.spent, self.reported = minutes * 60.0, time.time(), spent, 0.0

    @property
    def seconds(self):
        return self.spent + time.time() - self.start

    @property
    def share(self):
        return min(self.seconds / self.budget, 1.0)

    def rate(self, peak, step, warmup=100):
        return peak * min(1.0, (step + 1) / warmup) * (0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * self.share)))

    def due(self, every=60.0):
        if self.seconds - self.reported < every:
            return False
        self.reported = self.seconds
        return True


class Average:
    """Exponential moving average of parameters; what is kept in the end."""

    def __init__(self, modules, decay=0.999):
        self.params = [p for m in modules for p in m.parameters()]
        self.values, self.decay, self.count = [p.detach().clone() for p in self.params], decay, 0

    def update(self):
        self.count += 1
        keep = min(self.decay, self.count / (self.count + 20))
        torch._foreach_lerp_(self.values, [p.detach() for p in self.params], 1.0 - keep)

    def swap(self):
        for p, v in zip(self.params, self.values):
            p.data, v.data = v.data, p.data


def keep(path, **parts):
    """Writes aside, then renames: a stage killed while saving leaves the last good file."""
    torch.save(parts, path.with_suffix(".part"))
    os.replace(path.with_suffix(".part"), path)


def to_tensor(images):
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def to_image(batch):
    x = ((batch.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    return Image.fromarray(np.concatenate(list(x), axis=1))


# ---------------------------------------------------------------------------------------------- autoencoder
def vae_batch(rng):
    """Whole pictures of several sizes; small ones often, because they cost little."""
    size, count = rng.choice(((128, 24), (128, 24), (192, 12), (256, 6), (256, 6), (320, 4), (512, 2)))
    return to_tensor([scenes.draw(scenes.random_scene(rng), size, size) for _ in range(count)])


def edges(x):
    return x[..., 1:, :] - x[..., :-1, :], x[..., :, 1:] - x[..., :, :-1]


def train_vae(work, minutes):
    path = work / "vae.pt"
    vae = start_well(make_vae())
    state = torch.load(path) if path.exists() else None
    if state:
        vae.load_state_dict(state["model"])
    clock = Clock(minutes, state["seconds"] if state else 0.0)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=1e-4)
    average, rng, step = Average([vae], 0.995), random.Random(int(clock.seconds)), 0
    while clock.share < 1.0:
        for g in optimizer.param_groups:
            g["lr"] = clock.rate(1.5e-3, step)
        x = vae_batch(rng)
        with torch.autocast("cpu", torch.bfloat16, enabled=FAST_HALF):
            mean, logvar = vae.encoder(x).float().chunk(2, dim=1)
            # latents that survive a little noise are latents that a flow can hit
            z = mean + 0.1 * torch.randn_like(mean)
            y = vae.decoder(z).float()
        loss_pixels = (y - x).abs().mean() + 2.0 * F.mse_loss(y, x)
        loss_edges = sum((a - b).abs().mean() for a, b in zip(edges(y), edges(x)))
        loss_size = 0.01 * (mean.pow(2).mean() - 1.0).pow(2) + 1e-3 * mean.pow(2).mean()
        loss_noise = 1e-3 * (logvar - 2.0 * math.log(0.1)).pow(2).mean()
        loss = loss_pixels + 2.0 * loss_edges + loss_size + loss_noise
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        average.update()
        step += 1
        if clock.due():
            average.swap()
            report_vae(work, vae, step, clock, loss_pixels, mean)
            keep(path, model=vae.state_dict(), seconds=clock.seconds)
            average.swap()
    average.swap()
    finish_vae(work, vae, clock)


@torch.no_grad()
def report_vae(work, vae, step, clock, loss, mean):
    rng = random.Random(99)
    x = to_tensor([scenes.draw(scenes.random_scene(rng), 256, 256) for _ in range(6)])
    y = vae.decoder(vae.encoder(x).chunk(2, dim=1)[0])
    psnr = 10 * math.log10(4.0 / F.mse_loss(y, x).item())
    to_image(torch.cat([x, y], dim=2)).save(work / "vae.png")
    print(f"vae {clock.share:5.1%} step {step} loss {loss.item():.4f} latents {mean.std().item():.3f} "
          f"held-out PSNR {psnr:.2f} dB", flush=True)


@torch.no_grad()
def finish_vae(work, vae, clock):
    """Measures mean and spread of the latents: they become the published shift and scaling factors."""
    rng = random.Random(5)
    x = to_tensor([scenes.draw(scenes.random_scene(rng), 256, 256) for _ in range(128)])
    z = torch.cat([vae.encoder(part).chunk(2, dim=1)[0] for part in x.split(16)])
    shift, scale = z.mean().item(), 1.0 / z.std().item()
    print(f"latents: shift {shift:.4f} scale {scale:.4f}; std by channel {z.std((0, 2, 3)).tolist()}")
    keep(work / "vae.pt", model=vae.state_dict(), seconds=clock.seconds, shift=shift, scale=scale)


def load_vae(work):
    state = torch.load(work / "vae.pt")
    vae = make_vae()
    vae.load_state_dict(state["model"])
    vae.register_to_config(shift_factor=round(state["shift"], 4), scaling_factor=round(state["scale"], 4))
    return vae.eval().requires_grad_(False)


# ------------------------------------------------------------------------------------------- flow matching
class Pool:
    """Encoded scenes, grown while training runs; captions are written anew each time a scene is used."""

    def __init__(self, vae, limit):
        self.vae, self.limit, self.rng = vae, limit, random.Random(int(time.time()))
        self.by_size = {}
        self.total = 0

    @torch.no_grad()
    def grow(self, count=32):
        width, height = self.rng.choice(SIZES)
        many = [scenes.random_scene(self.rng) for _ in range(max(2, count * 65536 // (width * height)))]
        x = to_tensor([scenes.draw(s, width, height) for s in many])
        with torch.autocast("cpu", torch.bfloat16, enabled=FAST_HALF):
            z = self.vae.encoder(x).float().chunk(2, dim=1)[0]
        z = (z - self.vae.config.shift_factor) * self.vae.config.scaling_factor
        bucket = self.by_size.setdefault((width, height), [])
        bucket.extend(zip(many, z))
        self.total += len(many)
        if self.total > self.limit:
            largest = max(self.by_size.values(), key=len)
            del largest[:len(many)]
            self.total -= len(many)

    def batch(self, count):
        """count 256x256 equivalents of one size: (scenes, latents)."""
        keys = list(self.by_size)
        key = self.rng.choices(keys, [len(self.by_size[k]) for k in keys])[0]
        count = max(8, count * 65536 // (key[0] * key[1]))
        rows = self.rng.choices(self.by_size[key], k=count)
        return [s for s, _ in rows], torch.stack([z for _, z in rows])


def random_times(count):
    """t = 1 is pure noise: there layout, colour and count are decided, in the middle the shapes.

    Much of training is spent close to it, because later the noisy picture itself tells what goes where, and nothing has
    to be looked up in the words any more.
    """
    t = torch.sigmoid(0.4 + torch.randn(count))
    return torch.where(torch.rand(count) < EARLY, 1.0 - 0.25 * torch.rand(count) ** 1.3, t)


def weights(chosen, height, width):
    """What each latent's error counts, [B, 1, height, width], 1 on average: most of a picture is plain background, and
    the hard part is where the objects are."""
    y = (torch.arange(height) + 0.5)[:, None] / height
    x = (torch.arange(width) + 0.5)[None, :] / width
    short = min(height, width)
    near = torch.zeros(len(chosen), height, width, dtype=torch.bool)
    for mask, scene in zip(near, chosen):
        for _, cx, cy, radius in scene.circles:
            away = (((x - cx) * width) ** 2 + ((y - cy) * height) ** 2).sqrt()
            mask |= away < radius * short + 1.0
    w = 1.0 + 4.0 * near.float()
    return (w / w.mean())[:, None]


def groups_at(scene, height, width):
    """What is drawn at each image token: 0 for the background, else 1 + the group's index, [height * width]."""
    y = (torch.arange(height) + 0.5)[:, None] / height
    x = (torch.arange(width) + 0.5)[None, :] / width
    groups, short = torch.zeros(height, width, dtype=torch.long), min(height, width)
    for index, cx, cy, radius in scene.circles:
        groups[((x - cx) * width) ** 2 + ((y - cy) * height) ** 2 < (radius * short) ** 2] = 1 + index
    return groups.flatten()


def mixed(z):
    t = random_times(len(z))
    noise = torch.randn_like(z)
    s = t[:, None, None, None]
    return t, (1 - s) * z + s * noise, noise - z


class Probe(torch.nn.Module):
    """Training wheels: early blocks must know where each image token is and what the caption wants there.

    Where a token is shows only in rotary angles between it and others, and what to draw there only in words that it has
    to look up and to keep apart; from the flow's loss alone a small model takes very long to find either. Linear readers
    of the image stream ask every token for its row and column, for what the caption says of the whole picture, and for
    shape and colour of what will be at this very place. They are thrown away afterwards.
    """

    BINS = 8
    WHOLE = {"total": 3, "size": 3, "place": 10, "background": len(COLORS)}
    HERE = {"shape": 1 + len(scenes.SHAPES), "color": len(COLORS)}

    def __init__(self, transformer):
        super().__init__()
        width = transformer.config.attention_head_dim * transformer.config.num_attention_heads
        blocks = (transformer.transformer_blocks[0], transformer.single_transformer_blocks[1])
        self.places = torch.nn.ModuleList(torch.nn.Linear(width, 2 * self.BINS) for _ in blocks)
        facts = sum(self.WHOLE.values()) + sum(self.HERE.values())
        self.facts = torch.nn.ModuleList(torch.nn.Linear(width, facts) for _ in blocks)
        self.seen, self.bound = {}, 0.0
        for i, block in enumerate(blocks):
            block.register_forward_hook(lambda m, a, out, i=i: self.seen.__setitem__(i, out[1]))

    def loss(self, height, width, chosen, told, t):
        """Of the last forward pass over a grid of height x width image tokens; `told` says which captions were given."""
        rows = torch.arange(height).repeat_interleave(width) * self.BINS // height
        columns = torch.arange(width).repeat(height) * self.BINS // width
        whole = torch.tensor([self.facts_of(s) for s in chosen])[:, None].expand(-1, height * width, -1)
        here = torch.stack([self.facts_at(s, height, width) for s in chosen])
        truth = torch.cat([whole, here], dim=2)[told]
        # most places are plain background, which is easy
        weight = 1.0 + 7.0 * (here[told][..., 0] > 0)
        weight = (weight / weight.mean()).flatten()
        total = 0.0
        for i in self.seen:
            x = F.layer_norm(self.seen[i].float(), self.seen[i].shape[-1:])
            guess = self.places[i](x).view(-1, 2 * self.BINS)
            for part, target in zip(guess.split(self.BINS, dim=1), (rows, columns)):
                total = total + 0.5 * F.cross_entropy(part, target.repeat(len(x)))
            guess = self.facts[i](x[told]).split((*self.WHOLE.values(), *self.HERE.values()), dim=2)
            for column, part in enumerate(guess):
                each = F.cross_entropy(part.flatten(0, 1), truth[..., column].flatten(), reduction="none")
                total = total + (each * weight).mean()
        self.remember(guess[-1].argmax(-1) == here[told][..., 1], here[told][..., 0] > 0, chosen, told, t)
        return total / 7

    def remember(self, hits, inside, chosen, told, t):
        """How often two objects have their own colours while there is nothing but noise to see: what to watch."""
        pairs = torch.tensor([len(s.groups) == 2 and s.groups[0].color != s.groups[1].color for s in chosen])[told]
        asked = inside & (pairs & (t[told] > 0.9))[:, None]
        if asked.any():
            self.bound = 0.95 * self.bound + 0.05 * hits[asked].float().mean().item()

    @staticmethod
    def facts_of(scene):
        first = scene.groups[0]
        return (scene.total - 1, list(scenes.RADII[1]).index(first.size),
                1 + list(scenes.PLACES).index(first.place) if first.place else 0, COLORS.index(scene.background))

    @staticmethod
    def facts_at(scene, height, width):
        """Shape (0 for none) and colour at each token, [height * width, 2]."""
        shape = torch.tensor([0, *(1 + scenes.SHAPES.index(g.shape) for g in scene.groups)])
        color = torch.tensor([COLORS.index(scene.background), *(COLORS.index(g.color) for g in scene.groups)])
        groups = groups_at(scene, height, width)
        return torch.stack([shape[groups], color[groups]], dim=-1)


class Gaze:
    """More training wheels: two heads of an early block must look at the words for what will be at a token's place, one
    at the word for its colour, one at the word for its shape.

    To find the word that means this very place, among two objects and a background, is the hardest thing that a caption
    asks for. Left alone, a small model learns colours and shapes long before it learns which belong together.
    """

    HEADS = slice(4, 6)  # those that `teach_positions` leaves alone

    def __init__(self, painter):
        self.blocks = painter.transformer.single_transformer_blocks[:2]
        self.inputs = {}
        for i, block in enumerate(self.blocks):
            block.register_forward_pre_hook(lambda m, a, given, i=i: self.inputs.__setitem__(i, given), with_kwargs=True)
        tokenizer = painter.tokenizers[1]
        colors = [scenes.COLOR_WORDS.get(color, (color,)) for color in COLORS]
        shapes = [[word for both in scenes.SHAPE_WORDS[shape] for word in both] for shape in scenes.SHAPES]
        # [12 colours or 7 shapes, vocabulary]: whether a token means it
        self.colors, self.shapes = (self.table(tokenizer, many) for many in (colors, shapes))

    @staticmethod
    def table(tokenizer, many):
        means = torch.zeros(len(many), tokens.size(tokenizer), dtype=torch.bool)
        for row, words in zip(means, many):
            row[[tokenizer(word).input_ids[0] for word in words]] = True
        return means

    def wanted(self, ids, chosen, height, width):
        """Which words each token should look at, [B, 2, height * width, text], and what is where: 0 for the background,
        else 1 + the group's index, [B, height * width]."""
        places = torch.stack([groups_at(s, height, width) for s in chosen])
        color = torch.zeros(len(chosen), 3, dtype=torch.long)
        shape = torch.zeros(len(chosen), 3, dtype=torch.long)
        for i, scene in enumerate(chosen):
            color[i, 0] = COLORS.index(scene.background)
            for j, group in enumerate(scene.groups):
                color[i, 1 + j], shape[i, 1 + j] = COLORS.index(group.color), scenes.SHAPES.index(group.shape)
        rows = ids[:, None].expand(-1, 3, -1)
        color = self.colors[color].gather(2, rows)
        shape = self.shapes[shape].gather(2, rows)
        shape[:, 0] = False
        index = places[..., None].expand(-1, -1, ids.shape[1])
        return torch.stack([color.gather(1, index), shape.gather(1, index)], dim=1), places

    def loss(self, ids, height, width, chosen, told):
        """Of the last forward pass over a grid of height x width image tokens."""
        wanted, places = self.wanted(ids, chosen, height, width)
        wanted &= told[:, None, None, None]
        asked = wanted.any(-1)
        weight = asked * (1.0 + 7.0 * (places > 0))[:, None]
        total = 0.0
        for i, block in enumerate(self.blocks):
            seen = self.attention(block, self.inputs[i])[..., :ids.shape[1]]
            hit = seen.masked_fill(~wanted, -math.inf).logsumexp(-1)
            total = total - (torch.where(asked, hit, 0.0) * weight).sum() / weight.sum()
        return total

    def attention(self, block, given):
        """Log probabilities with which image tokens look at text and image tokens, [B, 2, image, text + image]."""
        text = given["encoder_hidden_states"].shape[1]
        x, _ = block.norm(torch.cat([given["encoder_hidden_states"], given["hidden_states"]], dim=1), emb=given["temb"])
        attn, width = block.attn, block.attn.head_dim
        part = slice(self.HEADS.start * width, self.HEADS.stop * width)

        def turned(linear, norm, x, rotary):
            y = F.linear(x, linear.weight[part], linear.bias[part]).unflatten(-1, (-1, width))
            return apply_rotary_emb(norm(y), rotary, sequence_dim=1)

        cos, sin = given["image_rotary_emb"]
        q = turned(attn.to_q, attn.norm_q, x[:, text:], (cos[text:], sin[text:]))
        k = turned(attn.to_k, attn.norm_k, x, (cos, sin))
        return (torch.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(width)).log_softmax(-1)


class Optimizer:
    """Muon for the matrices of the blocks, AdamW for everything else: half the steps of AdamW alone."""

    def __init__(self, painter, *others):
        inner = [p for n, p in painter.named_parameters() if p.ndim == 2 and "block" in n and "bias" not in n]
        chosen = {id(p) for p in inner}
        rest = [p for p in painter.parameters() if id(p) not in chosen]
        rest += [p for module in others for p in module.parameters()]
        self.parts = [torch.optim.Muon(inner, lr=1e-3, momentum=0.95, weight_decay=0.01,
                                       adjust_lr_fn="match_rms_adamw"),
                      torch.optim.AdamW(rest, lr=1e-3, betas=(0.9, 0.99), weight_decay=0.01)]

    def step(self, rate, loss):
        for part in self.parts:
            part.zero_grad()
        loss.backward()
        for part in self.parts:
            for group in part.param_groups:
                torch.nn.utils.clip_grad_norm_(group["params"], 1.0)
                group["lr"] = rate
            part.step()


def modules_of(painter):
    return [painter.clip, painter.t5, painter.transformer]


def train_flow(work, minutes, batch):
    vae = load_vae(work)
    path, painter = work / "flow.pt", Painter(work)
    state = torch.load(path) if path.exists() else None
    if state:
        painter.load_state_dict(state["model"])
    clock = Clock(minutes, state["seconds"] if state else 0.0)
    probe, gaze = Probe(painter.transformer), Gaze(painter)
    optimizer = Optimizer(painter, probe)
    for block in [*painter.transformer.transformer_blocks, *painter.transformer.single_transformer_blocks]:
        block.compile()  # for the usual size; the rare ones run as they are
    average, pool, step, seen, mean_loss = Average(modules_of(painter)), Pool(vae, 40000), 0, 0, 1.0
    for _ in range(60):
        pool.grow()
    while clock.share < 1.0:
        pool.grow(4)
        chosen, z = pool.batch(batch)
        torch.compiler.set_stance("default" if z.shape == (batch, LATENT_CHANNELS, 16, 16) else "force_eager")
        told = torch.rand(len(z)) > 0.07
        captions = [scenes.caption(pool.rng, s) if t else "" for s, t in zip(chosen, told)]
        t, x, target = mixed(z)
        with torch.autocast("cpu", torch.bfloat16, enabled=FAST_HALF):
            ids = painter.tokenize(captions)
            v = painter(x, t, painter.encode(ids), torch.ones(len(z)))
        loss = ((v.float() - target).square() * weights(chosen, *z.shape[2:])).mean()
        wheels = probe.loss(z.shape[2] // 2, z.shape[3] // 2, chosen, told, t)
        looks = gaze.loss(ids[1], z.shape[2] // 2, z.shape[3] // 2, chosen, told)
        optimizer.step(clock.rate(2e-3, step, 60 if state else 300), loss + 0.3 * wheels + 0.1 * looks)
        average.update()
        step, seen, mean_loss = step + 1, seen + len(z), 0.99 * mean_loss + 0.01 * loss.item()
        if clock.due():
            average.swap()
            print(f"flow {clock.share:5.1%} step {step} seen {seen} loss {mean_loss:.4f} "
                  f"wheels {wheels.item():.3f} looks {looks.item():.3f} bound {probe.bound:.3f} pool {pool.total}", flush=True)
            if int(clock.seconds / 60) % 3 == 0:
                sample_sheet(work, painter, vae, "flow.png", cfg=3.0)
            keep(path, model=painter.state_dict(), seconds=clock.seconds)
            average.swap()
    average.swap()
    keep(path, model=painter.state_dict(), seconds=clock.seconds)


def guided(painter, x, t, text, guidance):
    """Away from what the empty caption would draw; the guidance embedding itself only ever sees 1."""
    empty = painter.encode(painter.tokenize([""]))
    empty = tuple(e.expand(len(x), *e.shape[1:]) for e in empty)
    ones = torch.ones(len(x))
    with_text, without = painter(x, t, text, ones).float(), painter(x, t, empty, ones).float()
    return without + guidance[:, None, None, None] * (with_text - without)


@torch.no_grad()
def sample_sheet(work, painter, vae, name, cfg, steps=16):
    """Sixteen held-out prompts as one picture, so that a person can watch the model learn."""
    rng = random.Random(7)
    chosen = [scenes.random_scene(rng) for _ in range(16)]
    captions = [scenes.caption(rng, s, plain=True, unseen=True) for s in chosen]
    text = painter.encode(painter.tokenize(captions))
    x = torch.randn(16, LATENT_CHANNELS, 16, 16, generator=torch.Generator().manual_seed(1))
    knots = torch.linspace(1, 0, steps + 1)
    for a, b in zip(knots[:-1], knots[1:]):
        t = a.expand(16)
        v = guided(painter, x, t, text, torch.full((16,), cfg))
        x = x + (b - a) * v.float()
    y = vae.decoder((x / vae.config.scaling_factor + vae.config.shift_factor))
    to_image(torch.cat([y[:8], y[8:]], dim=2)).save(work / name)
    (work / "captions.txt").write_text("\n".join(captions) + "\n")


# ------------------------------------------------------------------------------------------------- pipeline
def save(work, out):
    painter = Painter(work)
    painter.load_state_dict(torch.load(work / "flow.pt")["model"])
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=1.0,
                                                          use_dynamic_shifting=False)
    parts = {"scheduler": scheduler, "text_encoder": painter.clip, "text_encoder_2": painter.t5,
             "transformer": painter.transformer, "vae": load_vae(work)}
    index = {"_class_name": "FluxPipeline", "_diffusers_version": "0.30.0"}
    for name, part in parts.items():
        if isinstance(part, torch.nn.Module):
            part.half()
        part.save_pretrained(out / name)
        index[name] = ["transformers" if name.startswith("text") else "diffusers", type(part).__name__]
    tokens.published_names(out / "text_encoder" / "model.safetensors")
    tokens.copy(work / "tokenizers", out)
    index |= {"tokenizer": ["transformers", "CLIPTokenizer"], "tokenizer_2": ["transformers", "PreTrainedTokenizerFast"]}
    (out / "model_index.json").write_text(json.dumps(dict(sorted(index.items())), indent=2) + "\n")
    total = sum(f.stat().st_size for f in out.rglob("*") if f.is_file())
    print(f"{out}: {total / 1e6:.2f} MB")


def resume(work, weights):
    """Unpacks published weights into WORK, so that `flow` can go on from them."""
    painter = Painter(work)
    painter.clip.load_state_dict(transformers.CLIPTextModel.from_pretrained(weights / "text_encoder").state_dict())
    painter.t5.load_state_dict(transformers.T5EncoderModel.from_pretrained(weights / "text_encoder_2").state_dict())
    published = diffusers.FluxTransformer2DModel.from_pretrained(weights / "transformer", torch_dtype=torch.float32)
    painter.transformer.load_state_dict(published.state_dict())
    vae = diffusers.AutoencoderKL.from_pretrained(weights / "vae", torch_dtype=torch.float32)
    keep(work / "flow.pt", model=painter.float().state_dict(), seconds=0.0)
    keep(work / "vae.pt", model=vae.state_dict(), seconds=0.0, shift=vae.config.shift_factor,
         scale=vae.config.scaling_factor)


def main():
    # the fused attention of CPUs is slow in the backward pass at these sizes; plain products are not
    torch.backends.cuda.enable_flash_sdp(False)
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("work", type=Path)
    ap.add_argument("stage", choices=("vae", "flow", "save", "resume"))
    ap.add_argument("out", type=Path, nargs="?", help="the folder of `save` and `resume`")
    ap.add_argument("--minutes", type=float, default=30.0)
    ap.add_argument("--batch", type=int, default=64, help="256x256 pictures per step")
    args = ap.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    tokens.write(args.work / "tokenizers", scenes.vocabulary(), TEXT_LENGTH)
    torch.manual_seed(int(time.time()))
    if args.stage == "vae":
        train_vae(args.work, args.minutes)
    elif args.stage == "flow":
        train_flow(args.work, args.minutes, args.batch)
    elif args.stage == "save":
        save(args.work, args.out)
    else:
        resume(args.work, args.out)


if __name__ == "__main__":
    main()
