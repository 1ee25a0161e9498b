"""Tiny checkpoints of OmniGen2, and what they compute.

diffusers has no OmniGen2. What follows is a computation of its own, written from the description of the model that its authors'
code is: functions over a dictionary of tensors, without anything of Scumble's. The texts are read by transformers, and given
pictures are opened and reduced by Pillow.
"""

import json
import math
import re

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from safetensors.torch import load_file

import small

SIZES = {"patch_size": 2, "in_channels": 16, "out_channels": None, "hidden_size": 48, "num_layers": 3, "num_refiner_layers": 2,
         "num_attention_heads": 6, "num_kv_heads": 2, "multiple_of": 80, "ffn_dim_multiplier": None, "norm_eps": 1e-5,
         "axes_dim_rope": [4, 2, 2], "axes_lens": [1024, 1664, 1664], "text_feat_dim": 32, "timestep_scale": 1000.0}
# width, feed-forward, layers, heads, heads of keys, sections of the positions
QWEN = (32, 64, 3, 4, 2, [1, 1, 2])
SYSTEM = "You are a helpful assistant that generates high-quality images based on user instructions."
# what the endpoint keeps out where a call names nothing
NEGATIVE = ("(((deformed))), blurry, over saturation, bad anatomy, disfigured, poorly drawn face, mutation, mutated, (extra_limb), "
            "(ugly), (poorly drawn hands), fused fingers, messy drawing, broken legs censor, censored, censor_bar")
TOKENS, PIXELS, SIDE, IMAGES = 1024, 1024 * 1024, 1024, 5
MODULATED = ("noise_refiner", "ref_image_refiner", "layers")


def write(root, tag="", sizes=None, qwen=QWEN, shifts=True):
    """The folder of a checkpoint. `sizes` replace entries of SIZES; `shifts` is whether times depend on the size."""
    sizes = SIZES | (sizes or {})
    vocab, ids = small.write_qwen_tokenizer(root / "processor")
    small.write_transformers(root / "mllm", f"{tag}og2.mllm", small.qwen_config(vocab, ids, *qwen), published)
    small.write_vae(root / "vae", f"{tag}og2.vae")
    small.write_json(root / "transformer/config.json", {"_class_name": "OmniGen2Transformer2DModel",
                                                        "_diffusers_version": "0.33.1", **sizes})
    small.write_weights(root / "transformer/diffusion_pytorch_model.safetensors",
                        small.fill(f"{tag}og2.transformer", shapes(sizes)))
    small.write_json(root / "scheduler/scheduler_config.json", {
        "_class_name": "FlowMatchEulerDiscreteScheduler", "_diffusers_version": "0.33.1", "dynamic_time_shift": shifts,
        "num_train_timesteps": 1000})
    small.write_json(root / "model_index.json", {
        "_class_name": "OmniGen2Pipeline", "_diffusers_version": "0.33.1",
        "mllm": ["transformers", "Qwen2_5_VLForConditionalGeneration"], "processor": ["transformers", "Qwen2_5_VLProcessor"],
        "scheduler": ["scheduling_flow_match_euler_discrete_time_shifting", "FlowMatchEulerDiscreteScheduler"],
        "transformer": ["transformer_omnigen2", "OmniGen2Transformer2DModel"], "vae": ["diffusers", "AutoencoderKL"]})


def published(name):
    """What transformers has renamed since."""
    return re.sub(r"^model\.(visual\.)|^(model\.)language_model\.", r"\1\2", name)


def shapes(c):
    width, text, time = c["hidden_size"], c["text_feat_dim"], min(c["hidden_size"], 1024)
    head, token = width // c["num_attention_heads"], c["patch_size"] ** 2 * c["in_channels"]
    wide = int(4 * width * (c["ffn_dim_multiplier"] or 1))
    keys, wide = c["num_kv_heads"] * head, -(-wide // c["multiple_of"]) * c["multiple_of"]
    s = {"image_index_embedding": [IMAGES, width]}

    def linear(name, out, into):
        s.update({name + ".weight": [out, into], name + ".bias": [out]})

    for name in ("x_embedder", "ref_image_patch_embedder"):
        linear(name, width, token)
    linear("time_caption_embed.timestep_embedder.linear_1", time, 256)
    linear("time_caption_embed.timestep_embedder.linear_2", time, time)
    s["time_caption_embed.caption_embedder.0.weight"] = [text]
    linear("time_caption_embed.caption_embedder.1", width, text)
    linear("norm_out.linear_1", width, time)
    linear("norm_out.linear_2", token, width)
    for group in ("context_refiner", *MODULATED):
        for i in range(c["num_layers" if group == "layers" else "num_refiner_layers"]):
            b = f"{group}.{i}."
            s |= {b + "attn.to_q.weight": [width, width], b + "attn.to_k.weight": [keys, width],
                  b + "attn.to_v.weight": [keys, width], b + "attn.to_out.0.weight": [width, width],
                  b + "attn.norm_q.weight": [head], b + "attn.norm_k.weight": [head],
                  b + "feed_forward.linear_1.weight": [wide, width], b + "feed_forward.linear_2.weight": [width, wide],
                  b + "feed_forward.linear_3.weight": [wide, width]}
            s |= {b + name + ".weight": [width] for name in ("norm2", "ffn_norm1", "ffn_norm2")}
            if group in MODULATED:
                linear(b + "norm1.linear", 4 * width, time)
                s[b + "norm1.norm.weight"] = [width]
            else:
                s[b + "norm1.weight"] = [width]
    return s


# ------------------------------------------------------------------------------------------------- the network
def rms(x, weight, eps):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight


def features(time, scale):
    """The scale multiplies finished angles."""
    angles = time * torch.exp(-math.log(10000) * torch.arange(128, dtype=torch.float32) / 128) * scale
    return torch.cat([angles.cos(), angles.sin()])


def turned(x, c, places):
    """Neighbours turn together: `x` is [tokens, heads, width], `places` [tokens, 3]."""
    rates = [10000.0 ** (-torch.arange(0, axis, 2, dtype=torch.float64) / axis) for axis in c["axes_dim_rope"]]
    angles = torch.cat([places[:, i:i + 1] * rate for i, rate in enumerate(rates)], -1)[:, None]
    a, b = x.double().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2).float()


def block(weights, c, name, x, places, time):
    heads, keys, eps = c["num_attention_heads"], c["num_kv_heads"], c["norm_eps"]

    def w(part):
        return weights[f"{name}.{part}.weight"]

    def split(part, z, count):
        return F.linear(z, w(part)).unflatten(-1, (count, -1))

    if f"{name}.norm1.weight" in weights:
        z, gate, scale, wide_gate = rms(x, w("norm1"), eps), 1, 0, 1
    else:
        m = F.linear(F.silu(time), w("norm1.linear"), weights[f"{name}.norm1.linear.bias"]).chunk(4)
        z, gate, scale, wide_gate = rms(x, w("norm1.norm"), eps) * (1 + m[0]), m[1].tanh(), m[2], m[3].tanh()
    q = turned(rms(split("attn.to_q", z, heads), w("attn.norm_q"), 1e-5), c, places)
    k = turned(rms(split("attn.to_k", z, keys), w("attn.norm_k"), 1e-5), c, places)
    k, v = (y.repeat_interleave(heads // keys, 1) for y in (k, split("attn.to_v", z, keys)))
    a = F.scaled_dot_product_attention(*(y.transpose(0, 1)[None] for y in (q, k, v)))[0].transpose(0, 1).flatten(1)
    x = x + gate * rms(F.linear(a, w("attn.to_out.0")), w("norm2"), eps)
    z = rms(x, w("ffn_norm1"), eps) * (1 + scale)
    z = F.silu(F.linear(z, w("feed_forward.linear_1"))) * F.linear(z, w("feed_forward.linear_3"))
    return x + wide_gate * rms(F.linear(z, w("feed_forward.linear_2")), w("ffn_norm2"), eps)


def patches(x, patch):
    """[channels, rows, columns] as tokens, channels fastest."""
    channels, rows, columns = x.shape
    x = x.view(channels, rows // patch, patch, columns // patch, patch)
    return x.permute(1, 3, 2, 4, 0).reshape(-1, patch * patch * channels)


def grid(shift, x, patch):
    rows, columns = x.shape[-2] // patch, x.shape[-1] // patch
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack([torch.full_like(row, shift), row, column], -1).reshape(-1, 3), max(rows, columns)


def forward(weights, c, x, text, given, level):
    """`x` is [channels, rows, columns], `text` [tokens, width], `given` are latents of pictures, `level` is 0 at noise and 1 at
    data; gives data minus noise."""
    patch = c["patch_size"]

    def linear(name, z):
        return F.linear(z, weights[name + ".weight"], weights[name + ".bias"])

    def run(group, h, places):
        for i in range(c["num_layers" if group == "layers" else "num_refiner_layers"]):
            h = block(weights, c, f"{group}.{i}", h, places, time)
        return h

    time = features(level, c["timestep_scale"])
    time = linear("time_caption_embed.timestep_embedder.linear_1", time)
    time = linear("time_caption_embed.timestep_embedder.linear_2", F.silu(time))
    text = rms(text, weights["time_caption_embed.caption_embedder.0.weight"], c["norm_eps"])
    places = [torch.arange(len(text))[:, None].expand(-1, 3)]
    parts = [run("context_refiner", linear("time_caption_embed.caption_embedder.1", text), places[0])]
    shift = len(text)
    for i, picture in enumerate(given):
        place, taken = grid(shift, picture, patch)
        z = linear("ref_image_patch_embedder", patches(picture, patch)) + weights["image_index_embedding"][i]
        parts.append(run("ref_image_refiner", z, place))
        places.append(place)
        shift += taken
    place, _ = grid(shift, x, patch)
    parts.append(run("noise_refiner", linear("x_embedder", patches(x, patch)), place))
    h = run("layers", torch.cat(parts), torch.cat([*places, place]))[-len(place):]
    h = F.layer_norm(h, h.shape[-1:], eps=1e-6) * (1 + linear("norm_out.linear_1", F.silu(time)))
    rows, columns = x.shape[-2] // patch, x.shape[-1] // patch
    h = linear("norm_out.linear_2", h).view(rows, columns, patch, patch, -1)
    return h.permute(4, 0, 2, 1, 3).reshape(x.shape)


# ------------------------------------------------------------------------------------------------- a whole call
def record(root, call, text_guidance_scale=5.0, image_guidance_scale=2.0, input_image_urls=(), cfg_range_start=0.0,
           cfg_range_end=1.0, scheduler="euler"):
    """Everything that is computed in one call; the fields are the endpoint's, pictures are names of files."""
    from diffusers import AutoencoderKL

    seen = {}

    def put(name, value):
        seen.setdefault(name, value.detach().clone().contiguous())

    vae = AutoencoderKL.from_pretrained(root / "vae").eval()
    with torch.no_grad():
        leads = [cfg_range_start <= i / call.steps <= cfg_range_end and text_guidance_scale > 1 for i in range(call.steps)]
        negative = NEGATIVE if call.negative is None else call.negative
        texts = read_texts(root, call.prompt, negative if any(leads) else None, put)
        # Scumble takes the seed after the call's where the authors take torch's own generator
        torch.manual_seed((call.seed + 1) % 2**64)
        given = [look(vae, path, i, put) for i, path in enumerate(input_image_urls)]
        if len(given) == 1:
            size = height, width = tuple(8 * side for side in given[0].shape[-2:])
        else:
            size = call.height, call.width
            width, height = reduced(call.width, call.height, math.inf)
        scales = text_guidance_scale, image_guidance_scale if given else 1.0
        latents = denoise(root, call, texts, given, (height, width), leads, scales, scheduler, put)
        small.record_picture(vae, latents, put, size)
    return seen


def read_texts(root, prompt, negative, put):
    from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration

    tokenizer = AutoTokenizer.from_pretrained(root / "processor")
    reader = Qwen2_5_VLForConditionalGeneration.from_pretrained(root / "mllm", dtype=torch.float32).eval()
    made = []
    for label, text in (("prompt", prompt), ("negative", negative)):
        if text is None:
            continue
        spoken = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{text}<|im_end|>\n"
        ids = tokenizer(spoken, max_length=TOKENS, truncation=True, return_tensors="pt").input_ids
        states = reader(ids, output_hidden_states=True).hidden_states[-1]
        put(f"{label}.tokenizer.input_ids", ids)
        put(f"{label}.mllm.last_hidden_state", states)
        made.append(states[0])
    return made


def reduced(width, height, longest):
    by = min(math.sqrt(PIXELS / (width * height)), longest / max(width, height), 1.0)
    return int(width * by) // 16 * 16, int(height * by) // 16 * 16


def opened(path):
    """Turned as the file says; what is transparent shows white."""
    picture = ImageOps.exif_transpose(Image.open(path))
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    pixels = np.asarray(picture.convert("RGBA"), dtype=np.float64)
    share = pixels[..., 3:] / 255
    return Image.fromarray(np.rint(pixels[..., :3] * share + 255 * (1 - share)).astype(np.uint8))


def look(vae, path, i, put):
    picture = opened(path)
    width, height = reduced(*picture.size, SIDE)
    # in this order, as every Pillow before 13 does it in one call; since then some pictures become lower first
    picture = picture.resize((width, picture.height), Image.LANCZOS).resize((width, height), Image.LANCZOS)
    x = torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255).permute(2, 0, 1)[None] * 2 - 1
    sample = vae.encode(x).latent_dist
    noise = torch.randn(sample.mean.shape)
    z = (sample.mean + sample.std * noise - vae.config.shift_factor) * vae.config.scaling_factor
    for name, value in (("in", x), ("mean", sample.mean), ("logvar", sample.logvar)):
        put(f"vae.encode.{i}.{name}", value)
    put(f"noise.posterior{i}", noise)
    put(f"input.image{i}_latents", z)
    return z[0]


def levels(steps, rows, columns, shifts):
    """From noise, 0, to data, 1; the larger a picture, the more of them near noise."""
    m = math.sqrt(rows * columns) / 40 if shifts else 1.0
    even = np.linspace(0, 1, steps + 1, dtype=np.float32)[:-1].astype(np.float64)
    return torch.from_numpy((even / (m - m * even + even)).astype(np.float32))


def denoise(root, call, texts, given, size, leads, scales, scheduler, put):
    c = json.loads((root / "transformer/config.json").read_text())
    weights = load_file(root / "transformer/diffusion_pytorch_model.safetensors")
    shifts = json.loads((root / "scheduler/scheduler_config.json").read_text())["dynamic_time_shift"]
    shape = (call.images, c["in_channels"], size[0] // 8, size[1] // 8)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(call.seed))
    times = levels(call.steps, *shape[2:], shifts)
    noisy = torch.cat([1 - times, torch.zeros(1)])
    put("noise.first_draw", x)
    put("schedule.timesteps", times)
    put("schedule.sigmas", noisy)
    before = None
    for i, time in enumerate(times):

        def predicted(text, given):
            return torch.stack([forward(weights, c, picture, text, given, time) for picture in x])

        v = predicted(texts[0], given)
        put("step0.transformer.out", v)
        if leads[i]:
            away = predicted(texts[1], [])
            towards = predicted(texts[1], given) if scales[1] > 1 else None
            v = guided(v, away, towards, *scales)
        if scheduler == "euler":
            x = x + (torch.cat([times, torch.ones(1)])[i + 1] - time) * v
        else:
            clean = x + noisy[i] * v
            x, before = leap(x, clean, before, noisy, i), clean
        put(f"step{i}.latents", x)
    return x


def guided(v, away, towards, text, pictures):
    if towards is None:
        return away + text * (v - away)
    return away + pictures * (towards - away) + text * (v - towards)


def leap(x, clean, before, noisy, i):
    """DPM-Solver++ of order 2, midpoint; the first and the last step are of order 1."""
    def log_ratio(k):
        return torch.log(1 - noisy[k]) - torch.log(noisy[k])

    h = log_ratio(i + 1) - log_ratio(i)
    share = (1 - noisy[i + 1]) * (torch.exp(-h) - 1)
    there = noisy[i + 1] / noisy[i] * x - share * clean
    if before is None or i + 2 == len(noisy):
        return there
    return there - 0.5 * share * (clean - before) * h / (log_ratio(i) - log_ratio(i - 1))
