//! What was spent today, and how much may be.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::call::Progress;
use super::cost::Cost;
use super::error::MakerError;

/// Days since 1970, in UTC.
pub(crate) type Today = fn() -> u64;

pub(crate) fn today() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs() / 86_400)
}

/// The account of one maker.
pub(crate) struct Ledger {
    maker: &'static str,
    setting: &'static str,
    limit: Option<Cost>,
    today: Today,
    spent: Mutex<(u64, Cost)>,
}

impl Ledger {
    pub(crate) fn new(maker: &'static str, setting: &'static str, limit: Option<Cost>, today: Today) -> Self {
        Self { maker, setting, limit, today, spent: Mutex::default() }
    }

    /// Sets money aside, or says that there is none left.
    fn reserve(&self, expected: Cost) -> Result<(), MakerError> {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        self.turn(&mut spent);
        if let Some(limit) = self.limit
            && spent.1 + expected > limit
        {
            return Err(MakerError::unavailable(
                format!(
                    "The owner's limit of ${:.2} a day for {} is reached ([limits] spend_per_day, {}); try again \
                     tomorrow (UTC), or ask the owner to raise it",
                    limit.usd(),
                    self.maker,
                    self.setting,
                ),
                false,
            ));
        }
        spent.1 = spent.1 + expected;
        Ok(())
    }

    /// What others spent today: other processes, or this one before it was started again.
    pub(crate) fn add(&self, cost: Cost) {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        self.turn(&mut spent);
        spent.1 = spent.1 + cost;
    }

    /// Something turned out to cost less.
    fn refund(&self, cost: Cost) {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        self.turn(&mut spent);
        spent.1 = spent.1 - cost;
    }

    /// What was spent today.
    pub(crate) fn spent(&self) -> Cost {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        self.turn(&mut spent);
        spent.1
    }

    fn turn(&self, spent: &mut (u64, Cost)) {
        let today = (self.today)();
        if spent.0 != today {
            *spent = (today, Cost::default());
        }
    }
}

/// What one call has cost so far, whatever becomes of it. Its watcher hears whenever that changes.
pub(crate) struct Tab<'a> {
    ledger: &'a Ledger,
    progress: &'a dyn Progress,
    total: Mutex<Cost>,
}

impl<'a> Tab<'a> {
    pub(crate) fn new(ledger: &'a Ledger, progress: &'a dyn Progress) -> Self {
        Self { ledger, progress, total: Mutex::default() }
    }

    /// Sets the expected cost of one question aside, or says that there is no money left for it.
    pub(crate) fn reserve(&self, expected: Cost) -> Result<Reserved<'_>, MakerError> {
        self.ledger.reserve(expected)?;
        Ok(Reserved { tab: self, amount: expected, kept: false })
    }

    /// An earlier attempt at the call has paid this. The ledger knows.
    pub(crate) fn paid_before(&self, cost: Cost) {
        self.change(Cost::default(), cost);
    }

    /// Something that was paid for turned out to cost nothing.
    pub(crate) fn refund(&self, cost: Cost) {
        self.ledger.refund(cost);
        self.change(cost, Cost::default());
    }

    fn change(&self, less: Cost, more: Cost) {
        let mut total = self.total.lock().unwrap_or_else(PoisonError::into_inner);
        *total = *total - less + more;
        // told in the order of the changes
        self.progress.spent(*total);
    }
}

/// Money set aside for a question. It goes back unless it is kept.
pub(crate) struct Reserved<'a> {
    tab: &'a Tab<'a>,
    amount: Cost,
    kept: bool,
}

impl Reserved<'_> {
    /// What is set aside.
    pub(crate) fn amount(&self) -> Cost {
        self.amount
    }

    /// From now on it may have been spent.
    pub(crate) fn keep(&mut self) {
        if !std::mem::replace(&mut self.kept, true) {
            self.tab.change(Cost::default(), self.amount);
        }
    }

    /// It was not spent after all; it is still set aside.
    pub(crate) fn free(&mut self) {
        if std::mem::take(&mut self.kept) {
            self.tab.change(self.amount, Cost::default());
        }
    }

    /// It was spent, and this is what it cost.
    pub(crate) fn settle(mut self, cost: Cost) {
        self.keep();
        self.tab.ledger.add(cost);
        self.tab.ledger.refund(self.amount);
        self.tab.change(self.amount, cost);
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.tab.ledger.refund(self.amount);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hears what a call has cost.
    #[derive(Default)]
    struct Ear(Mutex<Cost>);

    impl Ear {
        fn heard(&self) -> Cost {
            *self.0.lock().expect("no panic")
        }
    }

    #[async_trait::async_trait]
    impl Progress for Ear {
        fn log(&self, _: &str) {}

        fn cancelled(&self) -> bool {
            false
        }

        fn spent(&self, cost: Cost) {
            *self.0.lock().expect("no panic") = cost;
        }

        async fn submitted(&self, _: &str) -> Result<(), String> {
            Ok(())
        }
    }

    #[test]
    fn what_was_not_spent_leaves_the_tab() {
        let ledger = Ledger::new("Maker", "maker", None, || 20_000);
        let ear = Ear::default();
        let tab = Tab::new(&ledger, &ear);
        tab.paid_before(Cost::from_usd(0.05));
        assert_eq!((ledger.spent(), ear.heard()), (Cost::default(), Cost::from_usd(0.05)));
        let mut tried = tab.reserve(Cost::from_usd(0.04)).expect("money");
        tried.keep();
        tried.keep();
        assert_eq!((ledger.spent(), ear.heard()), (Cost::from_usd(0.04), Cost::from_usd(0.09)));
        tried.free();
        assert_eq!((ledger.spent(), ear.heard()), (Cost::from_usd(0.04), Cost::from_usd(0.05)));
        drop(tried);
        tab.reserve(Cost::from_usd(0.04)).expect("money").settle(Cost::from_usd(0.03));
        assert_eq!((ledger.spent(), ear.heard()), (Cost::from_usd(0.03), Cost::from_usd(0.08)));
        tab.refund(Cost::from_usd(0.03));
        assert_eq!((ledger.spent(), ear.heard()), (Cost::default(), Cost::from_usd(0.05)));
    }

    #[test]
    fn a_day_has_its_limit_and_the_next_day_its_own() {
        static DAY: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(20_000);
        let day = || DAY.load(std::sync::atomic::Ordering::Relaxed);
        let ledger = Ledger::new("Maker", "maker", Some(Cost::from_usd(0.10)), day);
        let ear = Ear::default();
        let tab = Tab::new(&ledger, &ear);
        tab.reserve(Cost::from_usd(0.04)).expect("money").settle(Cost::from_usd(0.06));
        drop(tab.reserve(Cost::from_usd(0.04)).expect("money"));
        let mut lost = tab.reserve(Cost::from_usd(0.04)).expect("money");
        lost.keep();
        drop(lost);
        assert_eq!((ledger.spent(), ear.heard()), (Cost::from_usd(0.10), Cost::from_usd(0.10)));
        let refused = tab.reserve(Cost::from_usd(0.01)).err().expect("the limit is reached");
        let refusal = refused.refusal().expect("an error");
        assert_eq!((refusal.status, refusal.retryable), (500, false));
        assert!(refusal.problem.msg.contains("$0.10 a day for Maker"), "{}", refusal.problem.msg);
        DAY.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        assert!(tab.reserve(Cost::from_usd(0.10)).is_ok());
    }
}
