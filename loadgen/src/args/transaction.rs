//! Writing in transactions.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use super::parse;
use crate::client::ClientError;
use crate::transaction::{Every, TransactionPlan};

/// Whether records are written in transactions, and how large those are.
#[derive(Debug, Clone, Args)]
pub(crate) struct TransactionArgs {
    /// Write in transactions. The producer of each thread takes this and a number for its transactional id.
    #[arg(long, help_heading = "Transactions", value_name = "PREFIX")]
    transactional_id_prefix: Option<String>,
    /// End each transaction after so many records of a thread (N), or after a time (Nms).
    #[arg(long, help_heading = "Transactions", default_value = "1000", value_name = "N|Nms")]
    transaction_every: Every,
    /// Part of the transactions that is aborted, from 0.0 to 1.0.
    #[arg(long, help_heading = "Transactions", default_value_t = 0.0, value_name = "PART", value_parser = parse::part)]
    abort_share: f64,
    /// Within this time the broker aborts a transaction of its own accord.
    #[arg(long, help_heading = "Transactions", default_value_t = 60_000, value_parser = clap::value_parser!(i32).range(1000..))]
    transaction_timeout_ms: i32,
}

impl TransactionArgs {
    /// Whether there are to be any.
    pub(crate) fn is_on(&self) -> bool {
        self.transactional_id_prefix.is_some()
    }

    /// What to do; `None` without transactions.
    pub(crate) fn plan(&self, acks: i16, seed: u64) -> Result<Option<TransactionPlan>, ClientError> {
        let Some(prefix) = &self.transactional_id_prefix else {
            if self.abort_share > 0.0 {
                return Err(ClientError::Usage("--abort-share needs --transactional-id-prefix".to_owned()));
            }
            return Ok(None);
        };
        if acks != -1 {
            return Err(ClientError::Usage("transactions need --acks all".to_owned()));
        }
        Ok(Some(TransactionPlan {
            prefix: prefix.clone(),
            every: self.transaction_every,
            abort_share: self.abort_share,
            timeout_ms: self.transaction_timeout_ms,
            seed,
        }))
    }
}

impl FromStr for Every {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "expected a number of records, or of milliseconds and ms".to_owned();
        let (number, is_time) = text.strip_suffix("ms").map_or((text, false), |number| (number, true));
        match number.parse::<u64>() {
            Ok(number) if number > 0 && is_time => Ok(Self::Time(Duration::from_millis(number))),
            Ok(number) if number > 0 => Ok(Self::Records(number)),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Only {
        #[command(flatten)]
        transaction: TransactionArgs,
    }

    fn plan(line: &str, acks: i16) -> Result<Option<TransactionPlan>, ClientError> {
        let only = Only::try_parse_from(std::iter::once("x").chain(line.split_whitespace())).unwrap();
        only.transaction.plan(acks, 1)
    }

    #[test]
    fn transactions_are_of_records_or_of_time() {
        assert!(plan("", 0).unwrap().is_none());
        let by_records = plan("--transactional-id-prefix t --transaction-every 50", -1).unwrap().unwrap();
        assert_eq!(by_records.every, Every::Records(50));
        let by_time = plan("--transactional-id-prefix t --transaction-every 50ms", -1).unwrap().unwrap();
        assert_eq!(by_time.every, Every::Time(Duration::from_millis(50)));
        for bad in ["0", "0ms", "ms", "5s", "-5"] {
            assert!(bad.parse::<Every>().is_err(), "{bad}");
        }
    }

    #[test]
    fn transactions_that_cannot_be_are_refused() {
        assert!(plan("--abort-share 0.5", -1).unwrap_err().to_string().contains("needs --transactional-id"));
        let weak = plan("--transactional-id-prefix t", 1).unwrap_err();
        assert!(weak.to_string().contains("--acks all"));
    }
}
