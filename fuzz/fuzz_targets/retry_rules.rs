//! `x-fal-no-retry` and `x-fal-retry-config`. No rule makes a job be tried for ever.
#![cfg_attr(fuzzing, no_main)]

use scumble_api::{Fault, RetryRules};

const MOST: u32 = 10;

scumble_fuzz::target!(|bytes| check(bytes));

fn check(bytes: &[u8]) {
    let Some((no_retry, config)) = scumble_fuzz::two_texts(bytes) else { return };
    for rules in [RetryRules::read(Some(no_retry), Some(config)), RetryRules::read(None, Some(config))] {
        for fault in [Fault::Timeout, Fault::ConnectionError, Fault::ServerError] {
            assert!(!rules.again(fault, MOST, MOST));
        }
    }
}
