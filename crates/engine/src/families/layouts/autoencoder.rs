//! Latent diffusion's names of the autoencoder, which publishers kept and diffusers changed.

/// How many levels its decoder has.
pub(super) fn levels<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    let level = |name: &str| name.strip_prefix("decoder.up.")?.split('.').next()?.parse().ok();
    names.filter_map(level).max().map_or(0, |last: usize| last.saturating_add(1))
}

/// Diffusers' name of a tensor. Matrices of the attention were convolutions of one pixel: their shapes differ in units.
pub(super) fn renamed(name: &str, levels: usize) -> Option<String> {
    let parts: Vec<&str> = name.split('.').collect();
    Some(match parts[..] {
        [side, "mid", block, ref rest @ ..] => format!("{side}.mid_block.{}", middle(block, rest)?),
        ["encoder", "down", level, "block", number, ref rest @ ..] => {
            format!("encoder.down_blocks.{level}.resnets.{number}.{}", resnet(rest))
        }
        ["encoder", "down", level, "downsample", ref rest @ ..] => {
            format!("encoder.down_blocks.{level}.downsamplers.0.{}", rest.join("."))
        }
        // diffusers counts in the order of computation
        ["decoder", "up", level, "block", number, ref rest @ ..] => {
            format!("decoder.up_blocks.{}.resnets.{number}.{}", turned(level, levels)?, resnet(rest))
        }
        ["decoder", "up", level, "upsample", ref rest @ ..] => {
            format!("decoder.up_blocks.{}.upsamplers.0.{}", turned(level, levels)?, rest.join("."))
        }
        [side, "norm_out", leaf] => format!("{side}.conv_norm_out.{leaf}"),
        _ => return None,
    })
}

fn middle(block: &str, rest: &[&str]) -> Option<String> {
    Some(match (block, rest) {
        ("block_1", _) => format!("resnets.0.{}", resnet(rest)),
        ("block_2", _) => format!("resnets.1.{}", resnet(rest)),
        ("attn_1", [module, leaf]) => {
            let module = match *module {
                "q" => "to_q",
                "k" => "to_k",
                "v" => "to_v",
                "proj_out" => "to_out.0",
                "norm" => "group_norm",
                _ => return None,
            };
            format!("attentions.0.{module}.{leaf}")
        }
        _ => return None,
    })
}

fn resnet(rest: &[&str]) -> String {
    let rest = rest.join(".");
    rest.strip_prefix("nin_shortcut").map_or(rest.clone(), |leaf| format!("conv_shortcut{leaf}"))
}

fn turned(level: &str, levels: usize) -> Option<usize> {
    levels.checked_sub(level.parse::<usize>().ok()?.checked_add(1)?)
}
