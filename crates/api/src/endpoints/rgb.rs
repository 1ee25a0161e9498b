//! Colours.

use crate::field::{Field, Fill, Kind, Shape};

const fn channel(name: &'static str, help: &'static str) -> Field {
    Field { name, kind: Kind::Integer { min: 0, max: 255 }, fill: Fill::Integer(0), help }
}

/// A colour as its three channels.
pub(super) const RGB_COLOR: Shape = Shape {
    name: "RGBColor",
    fields: &[channel("r", "Red, 0 to 255."), channel("g", "Green, 0 to 255."), channel("b", "Blue, 0 to 255.")],
    apart: &[],
};
