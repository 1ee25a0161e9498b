//! Decoding a large picture in overlapping tiles, so that its memory stays that of one tile.
//!
//! The rules are those of diffusers' `AutoencoderKL.tiled_decode`: tiles of the training size, a quarter of overlap,
//! each tile blended linearly into its upper and left neighbours.

use candle_core::{Device, Tensor};

use crate::error::Result;

/// When and how to tile.
#[derive(Clone, Copy, Debug)]
pub struct Tiling {
    /// Latents beyond this area are tiled. Smaller pictures equal diffusers' default, which does not tile.
    pub above: usize,
    /// Side of a tile in latents.
    pub tile: usize,
    /// Pixels per latent.
    pub factor: usize,
}

impl Tiling {
    /// Share of a tile that its neighbours cover too.
    const OVERLAP: f64 = 0.25;

    /// Tiles of the training size for pictures over 2.25 megapixels at factor 8 (192 × 192 latents).
    pub fn for_size(sample_size: usize, factor: usize) -> Self {
        Self { above: 192 * 192, tile: (sample_size / factor).max(8), factor }
    }

    /// Whether latents of this size are decoded in tiles.
    pub fn applies(&self, height: usize, width: usize) -> bool {
        height * width > self.above && (height > self.tile || width > self.tile)
    }

    /// Decodes tile by tile.
    ///
    /// # Errors
    /// Those of `decode`.
    pub fn decode(&self, z: &Tensor, decode: &dyn Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
        let (_, _, height, width) = z.dims4()?;
        let step = (self.tile as f64 * (1.0 - Self::OVERLAP)) as usize;
        let sample = self.tile * self.factor;
        let blend = (sample as f64 * Self::OVERLAP) as usize;
        let keep = sample - blend;
        let mut above: Vec<Tensor> = Vec::new();
        let mut strips = Vec::new();
        for top in (0..height).step_by(step) {
            let mut row: Vec<Tensor> = Vec::new();
            let mut kept = Vec::new();
            for left in (0..width).step_by(step) {
                let tile = z.narrow(2, top, self.tile.min(height - top))?;
                let tile = tile.narrow(3, left, self.tile.min(width - left))?.contiguous()?;
                let mut tile = decode(&tile)?;
                if let Some(upper) = above.get(row.len()) {
                    tile = blended(upper, &tile, 2, blend)?;
                }
                if let Some(neighbour) = row.last() {
                    tile = blended(neighbour, &tile, 3, blend)?;
                }
                let (_, _, h, w) = tile.dims4()?;
                kept.push(tile.narrow(2, 0, keep.min(h))?.narrow(3, 0, keep.min(w))?);
                row.push(tile);
            }
            strips.push(Tensor::cat(&kept, 3)?);
            above = row;
        }
        Ok(Tensor::cat(&strips, 2)?)
    }
}

/// `tile` with its first `extent` rows (dimension 2) or columns (3) faded over from the last ones of `neighbour`.
fn blended(neighbour: &Tensor, tile: &Tensor, dim: usize, extent: usize) -> Result<Tensor> {
    let (before, size) = (neighbour.dim(dim)?, tile.dim(dim)?);
    let extent = extent.min(before).min(size);
    let fade = fade_in(extent, dim, tile)?;
    let old = neighbour.narrow(dim, before - extent, extent)?;
    let new = tile.narrow(dim, 0, extent)?;
    let mixed = (&old + (new - &old)?.broadcast_mul(&fade)?)?;
    if extent == size {
        return Ok(mixed);
    }
    Ok(Tensor::cat(&[mixed, tile.narrow(dim, extent, size - extent)?], dim)?)
}

/// 0, 1/n, … (n−1)/n along one dimension of four.
fn fade_in(extent: usize, dim: usize, like: &Tensor) -> Result<Tensor> {
    let values: Vec<f32> = (0..extent).map(|i| i as f32 / extent as f32).collect();
    let mut shape = [1; 4];
    shape[dim] = extent;
    Ok(Tensor::from_vec(values, &shape, &Device::Cpu)?.to_dtype(like.dtype())?.to_device(like.device())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upsample_2x(x: &Tensor) -> Result<Tensor> {
        let (_, _, height, width) = x.dims4()?;
        Ok(x.upsample_nearest2d(2 * height, 2 * width)?)
    }

    /// A decoder without surroundings: tiles must then fit together without a seam.
    #[test]
    fn tiles_of_a_local_decoder_add_up_to_the_whole() -> Result<()> {
        let tiling = Tiling { above: 0, tile: 8, factor: 2 };
        for (height, width) in [(8, 8), (9, 20), (31, 14), (3, 40)] {
            let z = Tensor::arange(0f32, (height * width) as f32, &Device::Cpu)?.reshape((1, 1, height, width))?;
            let whole = upsample_2x(&z)?;
            let tiled = tiling.decode(&z, &upsample_2x)?;
            assert_eq!(tiled.dims(), whole.dims());
            let difference = (tiled - whole)?.abs()?.max_all()?.to_scalar::<f32>()?;
            assert!(difference < 1e-3, "{height}×{width}: {difference}");
        }
        Ok(())
    }
}
