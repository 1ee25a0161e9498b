//! `scumble models pull`.

use std::collections::BTreeMap;

use scumble_api::Endpoint;
use scumble_api::published::{Form, Licence, Published, Repository, Variant, checker, gigabytes, published};
use scumble_engine::checkers::{Checker, CheckerKind};
use scumble_hub::{
    Choice, Chosen, Client, Error, Fetching, Held, HeldFile, Listing, Models, Patience, Planned, RepoId, Source, Watch,
    choose, total,
};
use scumble_worker::{advice, engine_runs};

use super::bar::Bar;
use super::variants::terms;
use crate::args::{From, ModelsPull};
use crate::checks;
use crate::failure::Failure;
use crate::meant;
use crate::out;
use crate::settings::{HubPlace, fetched_models, runtime, usable};
use crate::signals::Signals;

/// Connections at once: one seldom has all of what a line can carry.
const CONNECTIONS: usize = 8;
/// What is read where no revision is named.
const MAIN: &str = "main";
/// The file that says of which class a checkpoint is.
const INDEX: &str = "model_index.json";

/// What something is fetched for.
#[derive(Clone, Copy)]
enum Use {
    /// It answers this endpoint.
    Endpoint(&'static Endpoint),
    /// It looks at pictures.
    Checker(CheckerKind),
}

impl Use {
    fn named(id: &str) -> Result<Self, Failure> {
        match (CheckerKind::parse(id), scumble_api::find(id)) {
            (Some(kind), _) => Ok(Self::Checker(kind)),
            (None, Some(endpoint)) => Ok(Self::Endpoint(endpoint)),
            (None, None) => Err(meant::unknown_endpoint(id)),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Endpoint(endpoint) => endpoint.id,
            Self::Checker(kind) => kind.name(),
        }
    }
}

/// Fetches what an endpoint or a checker needs and is not here.
pub(super) fn pull(args: &ModelsPull) -> Result<(), Failure> {
    let purpose = Use::named(&args.id)?;
    let (model, variant) = what(purpose, args.variant.as_deref())?;
    let HubPlace { hub, offline } = HubPlace::read()?;
    let models = fetched_models().ok_or_else(|| {
        Failure::Usage("neither HF_HOME nor HOME is set; say where models go with HF_HOME=DIR".into())
    })?;
    let fetching = Fetching {
        client: Client::new(hub, Patience::default()),
        cache: models.cache().clone(),
        connections: CONNECTIONS,
        free: scumble_files::free_bytes,
    };
    let bar = Bar::new();
    let pull = Pull { purpose, model, variant, args, fetching: &fetching, models: &models, offline, bar: &bar };
    let done = runtime()?.block_on(async {
        let mut signals = Signals::new()?;
        tokio::select! {
            done = pull.run() => done,
            () = signals.next() => Err(Failure::Interrupted),
        }
    });
    bar.finish();
    if matches!(done, Err(Failure::Interrupted)) {
        out::say("what has come stays; the same command goes on with it");
    }
    done
}

/// The model of an endpoint or a checker and the form that is meant, where this build can use both.
fn what(purpose: Use, wanted: Option<&str>) -> Result<(&'static Published, &'static Variant), Failure> {
    let found = match purpose {
        Use::Endpoint(endpoint) => published(endpoint.id),
        Use::Checker(kind) => checker(kind.name()),
    };
    let Some(model) = found else {
        return Err(Failure::Usage(match purpose {
            Use::Endpoint(endpoint) if endpoint.family.maker().is_some() => {
                format!("there is nothing to fetch: {}", advice(endpoint))
            }
            _ => format!("there is nothing to fetch: the weights of {} are in this program", purpose.name()),
        }));
    };
    if let Use::Endpoint(endpoint) = purpose
        && !engine_runs(endpoint)
    {
        return Err(Failure::Weights(format!("nothing is fetched: {}", advice(endpoint))));
    }
    let variant = match wanted {
        None => &model.variants[0],
        Some(name) => model.variant(name).ok_or_else(|| {
            let known: Vec<&str> = model.variants.iter().map(|variant| variant.name).collect();
            let known = known.join(", ");
            Failure::Usage(format!("{} is not published as {name}; there are {known}", model.name))
        })?,
    };
    Ok((model, variant))
}

/// One fetch.
struct Pull<'a> {
    purpose: Use,
    model: &'static Published,
    variant: &'static Variant,
    args: &'a ModelsPull,
    fetching: &'a Fetching,
    models: &'a Models,
    offline: bool,
    bar: &'a Bar,
}

/// Of one repository: what is wanted of it, under which terms.
struct Wanted {
    planned: Planned,
    chosen: Vec<Chosen>,
    licence: String,
}

impl Pull<'_> {
    async fn run(&self) -> Result<(), Failure> {
        // where nothing comes and nothing has to be noted, nothing has to be writable either
        let notes = !self.offline || self.args.from.is_some();
        let writes = notes || !self.args.tokenizers;
        let _claim = writes.then(|| self.models.claim(self.model.name)).transpose()?;
        let wanted = self.plan().await?;
        let all = total(wanted.iter().map(|wanted| wanted.planned.bytes()))?;
        let missing = total(wanted.iter().map(|wanted| self.fetching.missing(&wanted.planned)))?;
        self.fetching.check_room(missing)?;
        out::say(&match missing {
            0 => format!("all {} are here already", gigabytes(all)),
            missing if missing == all => format!("{} are to come", gigabytes(missing)),
            missing => format!("{} are to come, {} are here", gigabytes(missing), gigabytes(all - missing)),
        });
        // before anything comes: what is noted is not removed with another model
        match self.args.tokenizers {
            false => self.models.begin(self.model.name, &self.held(&wanted))?,
            true if notes => self.models.note_tokenizers(self.model.name, &self.held(&wanted))?,
            true => {}
        }
        self.bar.begin(all, all - missing);
        // what says of which class it is comes before what takes hours
        self.check_class(&wanted[0]).await?;
        for Wanted { planned, .. } in &wanted {
            self.fetching.fetch(planned, self.bar).await?;
            if !self.offline {
                self.fetching.settle(planned)?;
            }
        }
        self.bar.finish();
        if self.args.tokenizers { self.report_small(&wanted) } else { self.keep(&wanted) }
    }

    /// What is wanted, of all repositories: who may not read one of them is told before anything comes.
    async fn plan(&self) -> Result<Vec<Wanted>, Failure> {
        let mut wanted = Vec::new();
        for (at, repository) in self.model.repositories.iter().enumerate() {
            wanted.push(self.of_repository(at == 0, repository).await?);
        }
        if let Form::File { repository, file, component } = self.variant.form
            && !self.args.tokenizers
        {
            let chosen = Chosen { from: file.to_owned(), to: single_file(component, file) };
            let listing = self.listing(repository, MAIN).await?;
            wanted.push(self.planned(listing, vec![chosen], None).await?);
        }
        Ok(wanted)
    }

    async fn of_repository(&self, is_own: bool, repository: &Repository) -> Result<Wanted, Failure> {
        let from = self.args.from.as_ref().filter(|_| is_own);
        let listing = match from {
            Some(From { repository, revision }) => {
                self.listing_of(repository, revision.as_deref().unwrap_or(MAIN)).await?
            }
            None => self.listing(repository.id, MAIN).await?,
        };
        let (word, without) = match self.variant.form {
            _ if !is_own => (None, None),
            Form::Folder { word } => (word, None),
            Form::File { component, .. } => (None, Some(component)),
        };
        let choice = Choice { parts: repository.parts, word, without, small_only: self.args.tokenizers };
        let chosen = match choose(&listing, choice) {
            // another's copy may hold one set alone, under plain names
            Err(Error::Lacks { .. }) if from.is_some() && word.is_some() => {
                choose(&listing, Choice { word: None, ..choice })
            }
            chosen => chosen,
        };
        let licence = if from.is_some() { None } else { Some(repository.licence) };
        self.planned(listing, chosen?, licence).await
    }

    async fn listing(&self, repository: &str, revision: &str) -> Result<Listing, Failure> {
        let id =
            RepoId::parse(repository).ok_or_else(|| Failure::Failed(format!("{repository} is not a repository")))?;
        self.listing_of(&id, revision).await
    }

    async fn listing_of(&self, id: &RepoId, revision: &str) -> Result<Listing, Failure> {
        match self.offline {
            true => self.fetching.listing_here(id, revision),
            false => self.fetching.client.listing(id, revision, self.bar).await,
        }
        .map_err(Failure::from)
    }

    async fn planned(
        &self,
        listing: Listing,
        chosen: Vec<Chosen>,
        licence: Option<Licence>,
    ) -> Result<Wanted, Failure> {
        let page = self.fetching.client.page(&listing.repository);
        let licence = match licence {
            Some(licence) => terms(licence),
            None => listing.licence.clone().unwrap_or_else(|| "a licence that its page names".to_owned()),
        };
        out::say(&format!("{}: {licence}, {page}", listing.repository));
        let paths: Vec<String> = chosen.iter().map(|file| file.from.clone()).collect();
        let planned = match self.offline {
            true => self.fetching.plan_here(&listing, &paths),
            false => self.fetching.plan(&listing, &paths, self.bar).await,
        };
        Ok(Wanted { planned: planned?, chosen, licence })
    }

    /// Makes sure that a checkpoint is of the class that the endpoint needs; a checker has none.
    async fn check_class(&self, own: &Wanted) -> Result<(), Failure> {
        let Use::Endpoint(endpoint) = self.purpose else { return Ok(()) };
        let listing = &own.planned.listing;
        let files = own.planned.files.iter().filter(|file| file.path == INDEX).cloned().collect();
        let small = Planned { listing: listing.clone(), files };
        self.fetching.fetch(&small, self.bar).await?;
        let path = self.fetching.cache.snapshot(&listing.repository, &listing.commit).join(INDEX);
        let text = std::fs::read(&path).map_err(|e| Failure::about("read", &path, e))?;
        let index: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
        let (class, wanted) = (index["_class_name"].as_str().unwrap_or("no class"), endpoint.pipeline());
        match wanted {
            Some(wanted) if wanted != class => Err(Failure::Weights(format!(
                "{} holds a {class}, and {} needs a {wanted}; nothing more of it is fetched",
                listing.repository, endpoint.id
            ))),
            _ => Ok(()),
        }
    }

    /// Makes the model's folder, and makes sure that it can be used.
    fn keep(&self, wanted: &[Wanted]) -> Result<(), Failure> {
        let folder = self.models.keep(self.model.name, &self.held(wanted))?;
        if let Some(wrong) = self.unusable() {
            self.models.forget(self.model.name)?;
            return Err(Failure::Weights(format!(
                "all of it has come, and it cannot be used: {wrong}. `scumble models remove {}` frees it",
                self.purpose.name()
            )));
        }
        let found = match self.purpose {
            Use::Endpoint(_) => self.model.endpoints.join(", "),
            Use::Checker(kind) => format!("[safety] checker = \"{}\"", kind.name()),
        };
        out::say(&format!("{} is here: `scumble run` and `scumble serve` find it for {found}", self.model.name));
        out::result(&folder.display().to_string())
    }

    /// The account of all that is wanted.
    fn held(&self, wanted: &[Wanted]) -> Held {
        let single_files = match self.variant.form {
            Form::Folder { .. } => BTreeMap::new(),
            Form::File { component, file, .. } => {
                BTreeMap::from([(component.to_owned(), single_file(component, file))])
            }
        };
        let variant = self.variant.name.to_owned();
        Held { variant, sources: wanted.iter().map(source).collect(), single_files, former: Vec::new() }
    }

    fn unusable(&self) -> Option<String> {
        let whole = self.models.find(self.model.name)?;
        match self.purpose {
            Use::Endpoint(endpoint) => checks::unusable(endpoint.id, &usable(&whole)?.source()?),
            Use::Checker(kind) => Checker::examine(kind, &whole.folder).err().map(|error| error.to_string()),
        }
    }

    fn report_small(&self, wanted: &[Wanted]) -> Result<(), Failure> {
        let folder = |wanted: &Wanted| {
            let Listing { repository, commit, .. } = &wanted.planned.listing;
            format!("{}\n", self.fetching.cache.snapshot(repository, commit).display())
        };
        out::result(&wanted.iter().map(folder).collect::<String>())
    }
}

fn source(wanted: &Wanted) -> Source {
    let Wanted { planned, chosen, licence } = wanted;
    let file = |(remote, chosen): (&scumble_hub::Remote, &Chosen)| HeldFile {
        from: remote.path.clone(),
        to: chosen.to.clone(),
        etag: remote.etag.clone(),
        bytes: remote.size,
    };
    Source {
        repository: planned.listing.repository.to_string(),
        revision: planned.listing.revision.clone(),
        commit: planned.listing.commit.clone(),
        licence: licence.clone(),
        files: planned.files.iter().zip(chosen).map(file).collect(),
    }
}

/// What a component's one file is called in the model's folder.
fn single_file(component: &str, file: &str) -> String {
    let end = file.rsplit_once('.').map_or("", |(_, end)| end);
    format!("{component}.{end}")
}
