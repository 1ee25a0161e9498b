//! The measures of a call's latents.

use candle_core::{Device, Tensor};

use crate::call::{Call, Sizes};
use crate::error::Result;
use crate::rng::Generator;
use crate::vae::VaeConfig;

/// A batch of latents.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Canvas {
    /// Rows and columns.
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels: usize,
    pub(crate) images: usize,
}

impl Canvas {
    /// For a call that was checked, at a model that draws these sizes.
    pub(crate) fn of(call: &Call, sizes: Sizes, vae: &VaeConfig) -> Result<Self> {
        let (width, height) = sizes.fit(call)?;
        let factor = vae.factor();
        Ok(Self { height: height / factor, width: width / factor, channels: vae.latent_channels, images: call.images })
    }

    /// Rows and columns of 2×2 cells.
    pub(crate) fn cells(&self) -> (usize, usize) {
        (self.height / 2, self.width / 2)
    }

    /// What the generator draws first, `[images, channels, height, width]`, float32, on the CPU.
    pub(crate) fn noise(&self, seed: u64) -> Result<Tensor> {
        Generator::new(seed).noise(&[self.images, self.channels, self.height, self.width])
    }

    /// One number for each picture of the batch.
    pub(crate) fn per_image(&self, value: f32, device: &Device) -> Result<Tensor> {
        Ok(Tensor::full(value, self.images, device)?)
    }
}

/// `[batch, channels, h, w]` to `[batch, (h/2)(w/2), 4 · channels]`: features ordered channel, row, column.
pub(crate) fn pack(latents: &Tensor) -> Result<Tensor> {
    let (batch, channels, height, width) = latents.dims4()?;
    let cells = latents.reshape(&[batch, channels, height / 2, 2, width / 2, 2])?;
    let tokens = cells.permute(vec![0, 2, 4, 1, 3, 5])?;
    Ok(tokens.reshape((batch, height * width / 4, 4 * channels))?)
}

/// The inverse of [`pack`], for any batch.
pub(crate) fn unpack(tokens: &Tensor, canvas: Canvas) -> Result<Tensor> {
    let Canvas { height, width, channels, .. } = canvas;
    let batch = tokens.dim(0)?;
    let cells = tokens.reshape(&[batch, height / 2, width / 2, channels, 2, 2])?;
    let latents = cells.permute(vec![0, 3, 1, 4, 2, 5])?;
    Ok(latents.reshape((batch, channels, height, width))?)
}

/// What a transformer says of every 2×2 cell, `[batch, cells, 4 · channels]` with features ordered row, column, channel,
/// as `[batch, channels, h, w]`: another order than [`unpack`]'s.
pub(crate) fn unpatch(tokens: &Tensor, canvas: Canvas) -> Result<Tensor> {
    let Canvas { height, width, channels, .. } = canvas;
    let batch = tokens.dim(0)?;
    let cells = tokens.reshape(&[batch, height / 2, width / 2, 2, 2, channels])?;
    let latents = cells.permute(vec![0, 5, 1, 3, 2, 4])?;
    Ok(latents.reshape((batch, channels, height, width))?)
}

/// The inverse of [`unpatch`], for any batch.
pub(crate) fn patch(latents: &Tensor) -> Result<Tensor> {
    let (batch, channels, height, width) = latents.dims4()?;
    let cells = latents.reshape(&[batch, channels, height / 2, 2, width / 2, 2])?;
    let tokens = cells.permute(vec![0, 2, 4, 3, 5, 1])?;
    Ok(tokens.reshape((batch, height * width / 4, 4 * channels))?)
}

/// The middle of a square table of positions `[1, side², width]`: `[1, rows · columns, width]`, from `top` and `left` on.
pub(crate) fn crop_positions(
    table: &Tensor,
    (rows, columns): (usize, usize),
    (top, left): (usize, usize),
) -> Result<Tensor> {
    let (_, entries, width) = table.dims3()?;
    let side = entries.isqrt();
    let crop = table.reshape((side, side, width))?.narrow(0, top, rows)?.narrow(1, left, columns)?;
    Ok(crop.reshape((1, rows * columns, width))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_orders_channel_row_column_and_can_be_undone() -> Result<()> {
        let x = Tensor::arange(0f32, 32.0, &Device::Cpu)?.reshape((1, 2, 4, 4))?;
        let packed = pack(&x)?;
        assert_eq!(packed.dims(), [1, 4, 8]);
        assert_eq!(packed.get(0)?.get(1)?.to_vec1::<f32>()?, [2.0, 3.0, 6.0, 7.0, 18.0, 19.0, 22.0, 23.0]);
        let canvas = Canvas { height: 4, width: 4, channels: 2, images: 1 };
        assert_eq!(unpack(&packed, canvas)?.flatten_all()?.to_vec1::<f32>()?, x.flatten_all()?.to_vec1::<f32>()?);
        Ok(())
    }

    #[test]
    fn unpatching_orders_row_column_channel() -> Result<()> {
        let canvas = Canvas { height: 2, width: 4, channels: 2, images: 1 };
        let tokens = Tensor::arange(0f32, 16.0, &Device::Cpu)?.reshape((1, 2, 8))?;
        let rows = unpatch(&tokens, canvas)?.reshape((4, 4))?.to_vec2::<f32>()?;
        assert_eq!(rows[0], [0.0, 2.0, 8.0, 10.0]);
        assert_eq!(rows[1], [4.0, 6.0, 12.0, 14.0]);
        assert_eq!(rows[2], [1.0, 3.0, 9.0, 11.0]);
        Ok(())
    }

    #[test]
    fn positions_are_cut_from_the_table_and_never_beyond_it() -> Result<()> {
        let table = Tensor::arange(0f32, 16.0, &Device::Cpu)?.reshape((1, 16, 1))?;
        let crop = crop_positions(&table, (2, 3), (1, 0))?.flatten_all()?.to_vec1::<f32>()?;
        assert_eq!(crop, [4.0, 5.0, 6.0, 8.0, 9.0, 10.0]);
        assert!(crop_positions(&table, (4, 4), (1, 0)).is_err());
        Ok(())
    }
}
