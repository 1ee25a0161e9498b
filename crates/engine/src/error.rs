//! What can go wrong between a folder of weights and a picture.
//!
//! Errors carry facts; the sentence is made once, here. `worker` decides what a caller of the API may see.

use std::path::PathBuf;

use candle_core::DType;

/// Result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a pipeline could not be opened or could not finish.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder does not hold a pipeline in the diffusers layout.
    #[error("{} is not a checkpoint: {reason}. Expected a diffusers folder with model_index.json and one folder per component, or a file of weights", folder.display())]
    NotACheckpoint {
        /// What was opened.
        folder: PathBuf,
        /// What is missing or wrong.
        reason: String,
    },
    /// The pipeline class is known to nobody here.
    #[error("{} holds {class}, which this engine does not run. It runs: {}", folder.display(), known.join(", "))]
    UnknownPipeline {
        /// What was opened.
        folder: PathBuf,
        /// `_class_name` of `model_index.json`.
        class: String,
        /// The classes that would have worked.
        known: Vec<&'static str>,
    },
    /// The pipeline is of another class than the endpoint needs.
    #[error("{} holds weights of {class}; this endpoint needs {wanted}", folder.display())]
    WrongPipeline {
        /// What was opened.
        folder: PathBuf,
        /// `_class_name` of `model_index.json`.
        class: &'static str,
        /// The class that would have worked.
        wanted: String,
    },
    /// A file that the layout promises is absent or cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// A file is there, but its contents are not what its name says.
    #[error("{} is damaged, or is another kind of file: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// A configuration asks for something this engine does not do.
    #[error("{}: {key} = {value} is not supported; supported: {supported}", path.display())]
    Unsupported {
        /// The configuration file.
        path: PathBuf,
        /// The entry.
        key: String,
        /// Its value.
        value: String,
        /// What would have worked.
        supported: String,
    },
    /// A tensor that the configuration asks for is in none of the files.
    #[error("{}: tensor {name} is missing", file.display())]
    MissingTensor {
        /// The file or index that should have named it.
        file: PathBuf,
        /// Full name.
        name: String,
    },
    /// A tensor has another shape than the configuration implies.
    #[error("{}: tensor {name} has shape {got:?}, the configuration asks for {expected:?}", file.display())]
    Misshapen {
        /// The file that holds it.
        file: PathBuf,
        /// Full name.
        name: String,
        /// Shape by the configuration.
        expected: Vec<usize>,
        /// Shape in the file.
        got: Vec<usize>,
    },
    /// The files hold tensors that the configuration has no place for.
    #[error("{}: {}", file.display(), unwanted(*count, first))]
    ExtraTensors {
        /// The file that holds the first of them.
        file: PathBuf,
        /// How many there are.
        count: usize,
        /// The first in alphabetical order.
        first: String,
    },
    /// A parameter of the call is out of range for this checkpoint.
    #[error("{name} {problem}")]
    Parameter {
        /// The parameter.
        name: &'static str,
        /// What is wrong and what is allowed.
        problem: String,
    },
    /// An adapter that the call names cannot be used. It is the caller's, and the model itself is fine.
    #[error("{name}: {problem}")]
    Adapter {
        /// Where in the call: such as `loras`, `0`, `path`.
        field: Vec<String>,
        /// As the caller named it.
        name: String,
        /// What is wrong, what would be right.
        problem: String,
    },
    /// Numbers grew beyond their type on the way: what would follow is a black picture.
    #[error("the model computed NaN or infinity ({place}, in {}). {}", dtype_name(*dtype), remedy(*dtype))]
    NotFinite {
        /// Where it was seen.
        place: String,
        /// The type of computation.
        dtype: DType,
    },
    /// The observer asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// A tensor operation failed: out of memory on a device, or a mistake of ours.
    #[error("tensor operation failed: {0}")]
    Tensor(#[from] candle_core::Error),
}

impl Error {
    /// Whether the weights on disk, not the call, are at fault.
    pub fn is_checkpoint(&self) -> bool {
        match self {
            Self::NotACheckpoint { .. }
            | Self::UnknownPipeline { .. }
            | Self::WrongPipeline { .. }
            | Self::Unreadable { .. }
            | Self::Damaged { .. }
            | Self::Unsupported { .. }
            | Self::MissingTensor { .. }
            | Self::Misshapen { .. }
            | Self::ExtraTensors { .. } => true,
            Self::Parameter { .. }
            | Self::Adapter { .. }
            | Self::NotFinite { .. }
            | Self::Cancelled
            | Self::Tensor(_) => false,
        }
    }
}

impl Error {
    /// Whether the memory of a device did not suffice: with less beside it, or for a smaller picture, it may.
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::Tensor(error) if crate::device::is_out_of_memory(error))
    }
}

/// A type's name, as settings spell it.
fn dtype_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "float32",
        DType::BF16 => "bfloat16",
        DType::F16 => "float16",
        other => other.as_str(),
    }
}

/// Says which tensors have no place.
fn unwanted(count: usize, first: &str) -> String {
    match count {
        1 => format!("tensor {first} does not belong to this model"),
        _ => format!("{count} tensors do not belong to this model, the first is {first}"),
    }
}

/// What to do about numbers that overflow in this type.
fn remedy(dtype: DType) -> &'static str {
    match dtype {
        DType::F16 => "float16 is too narrow for this model: set its dtype to bfloat16 or float32",
        DType::BF16 => "Set its dtype to float32; if that does not help, its weights are damaged",
        _ => "There is no wider type, so its weights are damaged: get them again",
    }
}
