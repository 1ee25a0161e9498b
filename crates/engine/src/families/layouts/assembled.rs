//! A checkpoint whose components lie in several places: in one file, in files of their own, in folders, in a base.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::configs::{self, Json};
use super::{Found, Kind, Naming, PartFile, Slot, is_same_family, recognise, slots};
use crate::error::{Error, Result};
use crate::families::find;
use crate::weights::Assembly;
use crate::weights::container::Container;

const INDEX: &str = "model_index.json";
const TRANSFORMER: &str = "transformer";
const SCHEDULER: &str = "scheduler/scheduler_config.json";

/// Where the components of a checkpoint are.
#[derive(Debug)]
pub(crate) struct Assembled {
    /// What the owner named first.
    root: PathBuf,
    /// `_class_name` of the whole.
    class: String,
    /// Diffusers folders for what does not come from elsewhere, the first that has a component counts.
    folders: Vec<PathBuf>,
    /// The folder of a single file, in which tokenizers may lie.
    beside: Option<PathBuf>,
    /// Folders of tokenizers that are in none of these, by their names.
    tokenizers: BTreeMap<String, PathBuf>,
    /// What comes from elsewhere, by component.
    given: BTreeMap<String, Given>,
    /// Configurations that are in no file, by their names in the checkpoint.
    made: BTreeMap<String, Vec<u8>>,
}

/// Where a component is.
#[derive(Debug)]
pub(crate) enum Given {
    /// In a folder of its own: `config.json` and weights.
    Folder(PathBuf),
    /// In a file.
    File(PartFile),
}

impl Assembled {
    /// Finds all components: what is a file is opened and looked at.
    ///
    /// # Errors
    /// Files and folders that are not what they should be; see [`Error::is_checkpoint`].
    pub(crate) fn of(assembly: &Assembly) -> Result<Self> {
        let Assembly { weights, base, components, tokenizers } = assembly;
        let is_file = weights.is_file();
        let folders: Vec<PathBuf> = (!is_file).then_some(weights).into_iter().chain(base).cloned().collect();
        for folder in &folders {
            if !folder.is_dir() {
                let reason =
                    if folder.exists() { "it is a file, not a folder" } else { "there is no such file or folder" };
                return Err(Error::NotACheckpoint { folder: folder.clone(), reason: reason.into() });
            }
        }
        let beside = is_file.then(|| weights.parent().map(Path::to_owned)).flatten();
        let (given, made) = (BTreeMap::new(), BTreeMap::new());
        let tokenizers = tokenizers.clone();
        let mut this = Self { root: weights.clone(), class: String::new(), folders, beside, tokenizers, given, made };
        let index = this.index()?;
        let said = index.as_ref().and_then(|index| index.get("_class_name")?.as_str()).map(str::to_owned);
        if is_file {
            this.take_all(weights)?;
            if let Some(said) = said.filter(|said| !is_same_family(said, &this.class)) {
                let class = find(&said).map_or("an unknown model", |family| family.class);
                let reason = format!(
                    "it holds weights of {}, and its base {} is {class}; expected both of one model",
                    this.class,
                    this.folders.first().unwrap_or(weights).display()
                );
                return Err(Error::Damaged { path: weights.clone(), reason });
            }
        } else {
            let missing = || Error::NotACheckpoint {
                folder: weights.clone(),
                reason: format!("{INDEX} is missing, or has no _class_name"),
            };
            this.class = said.ok_or_else(missing)?;
        }
        for (name, path) in components {
            let name = this.own_name(name);
            if components.keys().filter(|other| this.own_name(other) == name).count() > 1 {
                let reason = format!("{name} is named twice, as {name} and as {TRANSFORMER}; expected one of them");
                return Err(Error::Damaged { path: path.clone(), reason });
            }
            this.put(name, path, index.as_ref())?;
        }
        this.configure(index)?;
        Ok(this)
    }

    /// What this class calls a component: everybody may call its transformer so.
    fn own_name<'a>(&self, name: &'a str) -> &'a str {
        let is_main = |slot: &&Slot| matches!(slot.kind, Kind::Transformer(_));
        match slots(&self.class).iter().find(is_main) {
            Some(slot) if name == TRANSFORMER => slot.name,
            _ => name,
        }
    }

    pub(crate) fn class(&self) -> &str {
        &self.class
    }

    pub(crate) fn given(&self, component: &str) -> Option<&Given> {
        self.given.get(component)
    }

    /// The bytes of a configuration that is in no file.
    pub(crate) fn made(&self, file: &str) -> Option<&[u8]> {
        self.made.get(file).map(Vec::as_slice)
    }

    /// Where a file of the checkpoint is.
    pub(crate) fn locate(&self, file: &str) -> Option<PathBuf> {
        let (component, rest) = file.split_once('/').unwrap_or(("", file));
        match self.given.get(component) {
            Some(Given::Folder(folder)) => return Some(folder.join(rest)).filter(|path| path.is_file()),
            Some(Given::File(_)) => return None,
            None => {}
        }
        // all of a component from one folder
        let of_tokens = self.beside.iter().filter(|_| is_tokenizer(component));
        let path = match self.folders.iter().chain(of_tokens).find(|folder| folder.join(component).is_dir()) {
            Some(folder) => folder.join(file),
            None => self.tokenizers.get(component)?.join(rest),
        };
        Some(path).filter(|path| path.is_file())
    }

    /// The path of a file for messages.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        let component = file.split('/').next().unwrap_or_default();
        match self.given.get(component) {
            Some(Given::File(part)) => part.path.clone(),
            _ => self.locate(file).unwrap_or_else(|| self.root.join(file)),
        }
    }

    /// Why a file cannot be read that is nowhere.
    pub(crate) fn missing(&self, file: &str) -> Error {
        let component = file.split('/').next().unwrap_or_default();
        let help = if is_tokenizer(component) {
            "no file of weights holds it. `scumble models pull ENDPOINT --tokenizers` fetches it; or name a base that has \
             it, a diffusers folder of this model (--weights-base DIR), or put that folder beside the file"
                .to_owned()
        } else if component == "scheduler" {
            "tensors do not tell it. Name a base that has it, a diffusers folder of this model (--weights-base DIR)"
                .to_owned()
        } else {
            format!(
                "the weights named do not hold {component}. Name a file or a folder of its own (--component \
                 {component}=PATH), or a base that has it, a diffusers folder (--weights-base DIR)"
            )
        };
        Error::Unreadable { path: self.root.join(file), reason: help }
    }

    /// Folders beside those that were named.
    pub(crate) fn folder_beside(&self, name: &str) -> Option<PathBuf> {
        let parents = self.folders.iter().filter_map(|folder| folder.parent()).chain(self.beside.as_deref());
        parents.map(|parent| parent.join(name)).find(|folder| folder.is_dir())
    }

    /// The first index among the folders.
    fn index(&self) -> Result<Option<Json>> {
        self.folders
            .iter()
            .find(|folder| folder.join(INDEX).is_file())
            .map(|folder| read(&folder.join(INDEX)))
            .transpose()
    }

    /// Takes a file as the whole: every component that it holds.
    fn take_all(&mut self, path: &Path) -> Result<()> {
        let file = Container::open(path)?;
        let found = recognise(&file)?;
        let class = found.iter().find_map(|found| match found.kind {
            Kind::Transformer(class) => Some(class),
            _ => None,
        });
        let others: Vec<String> = found.iter().map(|found| found.kind.told()).collect();
        let none = || {
            let held = others.join(", ");
            file.damaged(format!(
                "it holds {held} and no transformer; expected a transformer, or name the file of one with --weights and \
                 this one with --component"
            ))
        };
        self.class = class.ok_or_else(none)?.to_owned();
        // a file without prefix holds nothing else
        let is_bare = found.iter().any(|found| found.prefix.is_empty());
        for one in &found {
            let slot = slots(&self.class).iter().find(|slot| slot.is_of(one));
            let Some(slot) = slot else {
                return Err(file.damaged(format!(
                    "it holds {} under {}, which {} has no place for",
                    one.kind.told(),
                    one.prefix,
                    self.class
                )));
            };
            let part = PartFile::new(path.to_owned(), one.clone(), &self.class, slot.name);
            self.given.insert(slot.name.to_owned(), Given::File(part));
        }
        let is_covered = |name: &str| found.iter().any(|found| name.starts_with(&found.prefix));
        let is_spare = |name: &str| ["logit_scale", "position_ids", "scaled_fp8"].iter().any(|end| name.ends_with(end));
        match file.names().find(|name| !is_bare && !is_covered(name) && !is_spare(name)) {
            Some(name) => Err(file.damaged(format!("tensor {name} belongs to none of its components"))),
            None => Ok(()),
        }
    }

    /// Takes a component from where the owner says.
    fn put(&mut self, name: &str, path: &Path, index: Option<&Json>) -> Result<()> {
        let wrong = |reason: String| Error::Damaged { path: path.to_owned(), reason };
        let slot = slots(&self.class).iter().find(|slot| slot.name == name);
        let is_named = index.is_some_and(|index| index.contains_key(name));
        if path.is_dir() && (slot.is_some() || is_named) {
            let inside =
                [path.to_owned(), path.join(name)].into_iter().find(|folder| folder.join("config.json").is_file());
            let folder =
                inside.ok_or_else(|| wrong(format!("it has no config.json; expected the folder of {name}")))?;
            self.given.insert(name.to_owned(), Given::Folder(folder));
            return Ok(());
        }
        let Some(slot) = slot else {
            let known: Vec<&str> = slots(&self.class).iter().map(|slot| slot.name).collect();
            let known = if known.is_empty() { "none".into() } else { known.join(", ") };
            return Err(wrong(format!("{} takes no {name} from elsewhere; it takes: {known}", self.class)));
        };
        let file = Container::open(path)?;
        let found = recognise(&file)?;
        let of_kind: Vec<&Found> = found.iter().filter(|found| found.kind == slot.kind).collect();
        let short = |found: &&&Found| !slot.short.is_empty() && found.prefix.contains(&format!(".{}.", slot.short));
        let Some(chosen) = of_kind.iter().find(short).or(of_kind.first()) else {
            let held: Vec<String> = found.iter().map(|found| found.kind.told()).collect();
            return Err(wrong(format!("it holds {}; expected {} for {name}", held.join(", "), slot.kind.told())));
        };
        let mut found = (*chosen).clone();
        if let Naming::LlamaCpp(width) = &mut found.naming {
            *width = self.llama_head(&file, name)?;
        }
        let part = PartFile::new(path.to_owned(), found, &self.class, name);
        self.given.insert(name.to_owned(), Given::File(part));
        Ok(())
    }

    /// The width of the heads whose rows a Llama's file has in another order: the base's word counts, then the file's own
    /// where it fits its tensors.
    fn llama_head(&self, file: &Container, component: &str) -> Result<usize> {
        if let Some(config) = self.base_config(component)? {
            return Ok(configs::llama_head(Some(&config)));
        }
        let rows = file.get("blk.0.attn_q.weight").and_then(|entry| entry.shape.first().copied()).unwrap_or(0);
        let heads = file.number("llama.attention.head_count").and_then(|heads| usize::try_from(heads).ok());
        let width = heads.filter(|heads| *heads > 0 && rows.is_multiple_of(*heads)).map(|heads| rows / heads);
        Ok(width.unwrap_or_else(|| configs::llama_head(None)))
    }

    /// A component's configuration in the folders.
    fn base_config(&self, component: &str) -> Result<Option<Json>> {
        let file =
            self.folders.iter().map(|folder| folder.join(component).join("config.json")).find(|file| file.is_file());
        file.map(|file| read(&file)).transpose()
    }

    /// Makes the configurations that are in no file.
    fn configure(&mut self, index: Option<Json>) -> Result<()> {
        let mut index = index.unwrap_or_default();
        index.insert("_class_name".into(), self.class.clone().into());
        for Slot { name, .. } in slots(&self.class) {
            let is_there = self.given.contains_key(*name) || self.folders.iter().any(|f| f.join(name).is_dir());
            if is_there {
                index.entry(*name).or_insert_with(|| json!(["diffusers", "component"]));
            }
        }
        let mut guided = None;
        let mut configured = Vec::new();
        for (name, given) in &self.given {
            // left out of the folder, and brought
            index.insert(name.clone(), json!(["diffusers", "component"]));
            let Given::File(part) = given else { continue };
            let opened = part.open()?;
            let base = self.base_config(name)?;
            let before = base.as_ref().and_then(|base| base.get("guidance_embeds").and_then(Value::as_bool));
            let config = configs::of(&self.class, name, part.found.kind, &opened, base)?;
            if matches!(part.found.kind, Kind::Transformer(_)) {
                guided = Some((config.get("guidance_embeds").and_then(Value::as_bool).unwrap_or(false), before));
            }
            configured.push((format!("{name}/config.json"), bytes(config)));
        }
        self.made.extend(configured);
        self.made.insert(INDEX.into(), bytes(index));
        self.schedule(guided);
        Ok(())
    }

    /// The schedule of the family where the base has none, or one of another variant than the transformer is of.
    fn schedule(&mut self, guided: Option<(bool, Option<bool>)>) {
        let Some((is_guided, before)) = guided else { return };
        let is_other = before.is_some_and(|before| before != is_guided);
        if (is_other || self.locate(SCHEDULER).is_none())
            && let Some(config) = configs::scheduler(&self.class, is_guided)
        {
            self.made.insert(SCHEDULER.into(), bytes(config));
        }
    }
}

impl Slot {
    /// Whether this is the place of a component of a file that is taken as the whole.
    fn is_of(&self, found: &Found) -> bool {
        let is_named = found.prefix.is_empty() || found.prefix.contains(&format!(".{}.", self.short));
        self.kind == found.kind && (self.short.is_empty() || is_named)
    }
}

/// Whether a component is texts about texts, which no file of weights holds.
fn is_tokenizer(component: &str) -> bool {
    component.starts_with("tokenizer") || component == "processor"
}

fn bytes(config: Json) -> Vec<u8> {
    Value::Object(config).to_string().into_bytes()
}

fn read(path: &Path) -> Result<Json> {
    let bytes = std::fs::read(path).map_err(|e| Error::Unreadable { path: path.to_owned(), reason: e.to_string() })?;
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(Error::Damaged { path: path.to_owned(), reason: "it is JSON, but not an object".into() }),
        Err(e) => Err(Error::Damaged { path: path.to_owned(), reason: format!("it is not JSON: {e}") }),
    }
}
