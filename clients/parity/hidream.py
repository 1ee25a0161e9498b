"""Tiny checkpoints of HiDream-I1, and what diffusers' own pipeline computes with them."""

import math

import torch

import small

SIZES = {"patch_size": 2, "in_channels": 16, "out_channels": 16, "num_layers": 2, "num_single_layers": 2,
         "attention_head_dim": 16, "num_attention_heads": 2, "caption_channels": [24, 32], "text_emb_dim": 40,
         "num_routed_experts": 4, "num_activated_experts": 2, "axes_dims_rope": [8, 4, 4], "max_resolution": [16, 16],
         "llama_layers": [0, 1, 2, 2]}
# width, feed-forward, layers, heads and so on, as the functions of `small` take them
TEXTS = {"clip_l": (16, 32, 2, 2, 248, 16), "clip_g": (24, 48, 3, 3, 218, 24), "t5": (24, 8, 48, 2, 3),
         "llama": (32, 64, 3, 4, 2)}
SCHEDULERS = {"full": ("UniPCMultistepScheduler", 3.0), "dev": ("FlowMatchLCMScheduler", 6.0),
              "fast": ("FlowMatchLCMScheduler", 3.0)}
TOKENIZERS = ("tokenizer", "tokenizer_2", "tokenizer_3", "tokenizer_4")


def write(root, variant, tag="", sizes=None, texts=None):
    """The folder of a checkpoint, with Llama in it. `sizes` and `texts` replace entries of SIZES and TEXTS."""
    from diffusers import HiDreamImageTransformer2DModel

    sizes, texts = SIZES | (sizes or {}), TEXTS | (texts or {})
    first = small.write_clip_tokenizer(root / "tokenizer", "<|endoftext|>")
    second = small.write_clip_tokenizer(root / "tokenizer_2", "!")
    third = small.write_t5_tokenizer(root / "tokenizer_3")
    fourth = small.write_llama_tokenizer(root / "tokenizer_4")
    encoders = [("text_encoder", "hd.clip1", small.clip_config(first, *texts["clip_l"])),
                ("text_encoder_2", "hd.clip2", small.clip_config(second, *texts["clip_g"], "gelu")),
                ("text_encoder_3", "hd.t5", small.t5_config(third, *texts["t5"])),
                ("text_encoder_4", "hd.llama", small.llama_config(*fourth, *texts["llama"]))]
    for folder, name, config in encoders:
        small.write_transformers(root / folder, tag + name, config)
    small.write_vae(root / "vae", tag + "hd.vae")
    with torch.device("meta"):
        wanted = small.shapes(HiDreamImageTransformer2DModel(**sizes))
    small.write_json(root / "transformer/config.json", {"_class_name": "HiDreamImageTransformer2DModel",
                                                        "_diffusers_version": "0.32.1", **sizes})
    small.write_weights(root / "transformer/diffusion_pytorch_model.safetensors",
                        small.fill(f"{tag}hidream-{variant}.transformer", wanted))
    scheduler = write_scheduler(root / "scheduler/scheduler_config.json", variant)
    parts = {"text_encoder": "CLIPTextModelWithProjection", "text_encoder_2": "CLIPTextModelWithProjection",
             "text_encoder_3": "T5EncoderModel", "tokenizer": "CLIPTokenizer", "tokenizer_2": "CLIPTokenizer",
             "tokenizer_3": "T5Tokenizer"}
    small.write_json(root / "model_index.json", {
        "_class_name": "HiDreamImagePipeline", "_diffusers_version": "0.33.0", "scheduler": ["diffusers", scheduler],
        "transformer": ["diffusers", "HiDreamImageTransformer2DModel"], "vae": ["diffusers", "AutoencoderKL"],
        **{name: ["transformers", cls] for name, cls in parts.items()}})


def write_scheduler(path, variant):
    name, shift = SCHEDULERS[variant]
    if variant == "full":
        config = {"num_train_timesteps": 1000, "solver_order": 2, "prediction_type": "flow_prediction",
                  "thresholding": False, "predict_x0": True, "solver_type": "bh2", "lower_order_final": True,
                  "disable_corrector": [], "use_flow_sigmas": True, "flow_shift": shift, "final_sigmas_type": "zero",
                  "timestep_spacing": "linspace"}
    else:
        config = {"num_train_timesteps": 1000, "shift": shift, "use_dynamic_shifting": False, "base_shift": 0.5,
                  "max_shift": 1.15, "base_image_seq_len": 256, "max_image_seq_len": 4096, "invert_sigmas": False,
                  "time_shift_type": "exponential"}
    small.write_json(path, {"_class_name": name, "_diffusers_version": "0.33.0", **config})
    return name


def opened(root):
    import diffusers
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    llama = LlamaForCausalLM.from_pretrained(root / "text_encoder_4", dtype=torch.float32, attn_implementation="eager")
    pipe = diffusers.HiDreamImagePipeline.from_pretrained(
        root, tokenizer_4=PreTrainedTokenizerFast.from_pretrained(root / "tokenizer_4"), text_encoder_4=llama,
        torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def record(root, call):
    """Everything that diffusers computes in one call."""
    import diffusers.schedulers.scheduling_flow_match_lcm as lcm

    pipe, seen = opened(root), {}

    def put(name, value):
        seen.setdefault(name, value.detach().clone().contiguous())

    guidance = 0.0 if call.guidance is None else call.guidance
    negative = (call.negative or "") if guidance > 1 else None
    length = call.max_sequence_length or 128
    record_texts(pipe, call.prompt, negative, length, put)
    # diffusers draws every picture at the area that it takes this for; here it is the call's
    pipe.default_sample_size = math.sqrt(call.width * call.height) / 8 * (1 + 1e-9)
    draws, original = [], lcm.randn_tensor

    def drawn(*args, **more):
        put(f"noise.step{len(draws)}", original(*args, **more))
        draws.append(seen[f"noise.step{len(draws)}"])
        return draws[-1]

    def on_transformer(module, args, given, out):
        put("noise.first_draw", given["hidden_states"][:call.images])
        put("step0.transformer.in.timesteps", given["timesteps"])
        put("step0.transformer.out", out[0])

    def on_step(_, i, __, values):
        put(f"step{i}.latents", values["latents"])
        return values

    hook = pipe.transformer.register_forward_hook(on_transformer, with_kwargs=True)
    lcm.randn_tensor = drawn
    try:
        # the noise of later steps is from torch's own generator: Scumble takes the seed after the call's
        torch.manual_seed((call.seed + 1) % 2**64)
        latents = pipe(call.prompt, negative_prompt=negative, height=call.height, width=call.width,
                       num_inference_steps=call.steps, guidance_scale=guidance, num_images_per_prompt=call.images,
                       generator=torch.Generator().manual_seed(call.seed), max_sequence_length=length,
                       output_type="latent", callback_on_step_end=on_step).images
    finally:
        hook.remove()
        lcm.randn_tensor = original
    put("schedule.sigmas", pipe.scheduler.sigmas)
    put("schedule.timesteps", pipe.scheduler.timesteps)
    small.record_picture(pipe.vae, latents, put)
    return seen


def record_texts(pipe, prompt, negative, length, put):
    for label, text in (("prompt", prompt), ("negative", negative)):
        if text is None:
            continue
        for name in TOKENIZERS:
            most = min(length, 218) if name in TOKENIZERS[:2] else length
            batch = getattr(pipe, name)(text, padding="max_length", max_length=most, truncation=True, return_tensors="pt")
            put(f"{label}.{name}.input_ids", batch.input_ids)
            if name in TOKENIZERS[2:]:
                put(f"{label}.{name}.attention_mask", batch.attention_mask)
    with torch.no_grad():
        made = pipe.encode_prompt(prompt, negative_prompt=negative, do_classifier_free_guidance=negative is not None,
                                  max_sequence_length=length)
    names = ("prompt.t5", "negative.t5", "prompt.llama", "negative.llama", "prompt.pooled", "negative.pooled")
    for name, states in zip(names, made):
        if states is not None:
            put(name, states)
