//! Names, help texts and buckets become metrics of a registry, and are written down on the way.

use std::collections::BTreeSet;

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{
    CounterVec, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts,
    Registry,
};

use crate::label::Label;
use crate::table::{Grid, Table};

/// What a metric is, as `# TYPE` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Only grows, until the process ends.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How many took how long.
    Histogram,
}

/// A metric as it is declared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Declared {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What it tells.
    pub help: &'static str,
    /// The names of its labels.
    pub labels: Vec<&'static str>,
}

impl Declared {
    /// The names under which its numbers stand in the text.
    #[must_use]
    pub fn series(&self) -> Vec<String> {
        match self.kind {
            Kind::Counter | Kind::Gauge => vec![self.name.to_owned()],
            Kind::Histogram => ["_bucket", "_sum", "_count"].map(|end| format!("{}{end}", self.name)).to_vec(),
        }
    }
}

/// Seconds that a human waits: from what nobody notices to what somebody would go to lunch for.
pub(crate) const LONG: &[f64] =
    &[0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];

/// Seconds that a disk or a database takes.
pub(crate) const SHORT: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Where metrics are declared.
#[derive(Default)]
pub(crate) struct Declarations {
    pub(crate) registry: Registry,
    pub(crate) all: BTreeSet<Declared>,
}

/// The names are this crate's own: whether one is used twice does not hang on anybody's input, and a test looks.
#[expect(clippy::expect_used, reason = "names are constants; a test makes all of them")]
impl Declarations {
    fn note<C: Collector + Clone + 'static>(
        &mut self,
        (name, help): (&'static str, &'static str),
        kind: Kind,
        labels: Vec<&'static str>,
        metric: C,
    ) -> C {
        self.registry.register(Box::new(metric.clone())).expect("a name that is used once");
        self.all.insert(Declared { name, kind, help, labels });
        metric
    }

    pub(crate) fn counter(&mut self, said: (&'static str, &'static str)) -> IntCounter {
        let metric = IntCounter::new(said.0, said.1).expect("a good name");
        self.note(said, Kind::Counter, Vec::new(), metric)
    }

    pub(crate) fn counters<L: Label>(&mut self, said: (&'static str, &'static str)) -> Counters<L> {
        let metric = IntCounterVec::new(Opts::new(said.0, said.1), &[L::NAME]).expect("a good name");
        Table::new(self.note(said, Kind::Counter, vec![L::NAME], metric)).filled()
    }

    pub(crate) fn amounts<L: Label>(&mut self, said: (&'static str, &'static str)) -> Amounts<L> {
        let metric = CounterVec::new(Opts::new(said.0, said.1), &[L::NAME]).expect("a good name");
        Table::new(self.note(said, Kind::Counter, vec![L::NAME], metric)).filled()
    }

    pub(crate) fn counter_grid<L: Label, K: Label>(&mut self, said: (&'static str, &'static str)) -> CounterGrid<L, K> {
        let metric = IntCounterVec::new(Opts::new(said.0, said.1), &[L::NAME, K::NAME]).expect("a good name");
        Grid::new(self.note(said, Kind::Counter, vec![L::NAME, K::NAME], metric)).filled()
    }

    pub(crate) fn gauges<L: Label>(&mut self, said: (&'static str, &'static str)) -> Gauges<L> {
        let metric = IntGaugeVec::new(Opts::new(said.0, said.1), &[L::NAME]).expect("a good name");
        Table::new(self.note(said, Kind::Gauge, vec![L::NAME], metric)).filled()
    }

    /// A gauge that is set when somebody looks; with labels of any value that this process itself chooses.
    pub(crate) fn seen(&mut self, said: (&'static str, &'static str), labels: &[&'static str]) -> GaugeVec {
        let metric = GaugeVec::new(Opts::new(said.0, said.1), labels).expect("a good name");
        self.note(said, Kind::Gauge, labels.to_vec(), metric)
    }

    pub(crate) fn histogram(&mut self, said: (&'static str, &'static str), buckets: &[f64]) -> Histogram {
        let options = HistogramOpts::new(said.0, said.1).buckets(buckets.to_vec());
        let metric = Histogram::with_opts(options).expect("a good name");
        self.note(said, Kind::Histogram, Vec::new(), metric)
    }

    /// Its series come with the first that is measured: there are many of them.
    pub(crate) fn histograms<L: Label>(
        &mut self,
        said: (&'static str, &'static str),
        buckets: &[f64],
    ) -> Histograms<L> {
        Table::new(self.histogram_vec(said, buckets, vec![L::NAME]))
    }

    /// The same with two labels.
    pub(crate) fn histogram_grid<L: Label, K: Label>(
        &mut self,
        said: (&'static str, &'static str),
        buckets: &[f64],
    ) -> HistogramGrid<L, K> {
        Grid::new(self.histogram_vec(said, buckets, vec![L::NAME, K::NAME]))
    }

    fn histogram_vec(
        &mut self,
        said: (&'static str, &'static str),
        buckets: &[f64],
        labels: Vec<&'static str>,
    ) -> HistogramVec {
        let options = HistogramOpts::new(said.0, said.1).buckets(buckets.to_vec());
        let metric = HistogramVec::new(options, &labels).expect("a good name");
        self.note(said, Kind::Histogram, labels, metric)
    }
}

/// The kind of vector that `MetricVec` is of this metric.
type Of<V> = <V as Vector>::Builder;

/// What tells the builder of a vector.
pub trait Vector {
    /// It.
    type Builder: MetricVecBuilder;
}

impl<B: MetricVecBuilder> Vector for MetricVec<B> {
    type Builder = B;
}

/// Counters by one label.
pub type Counters<L> = Table<Of<IntCounterVec>, L>;
/// Counters of what comes in parts, by one label.
pub type Amounts<L> = Table<Of<CounterVec>, L>;
/// Counters by two labels.
pub type CounterGrid<L, K> = Grid<Of<IntCounterVec>, L, K>;
/// Gauges by one label.
pub type Gauges<L> = Table<Of<IntGaugeVec>, L>;
/// Histograms by one label.
pub type Histograms<L> = Table<Of<HistogramVec>, L>;
/// Histograms by two labels.
pub type HistogramGrid<L, K> = Grid<Of<HistogramVec>, L, K>;
