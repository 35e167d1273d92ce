//! Quotas of clients (KIP-546), as the image holds them: by client id, with a default for those that have none.

use std::collections::BTreeMap;

/// A quota that can be set on clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quota {
    /// Bytes of produce requests a second.
    ProducerByteRate,
    /// Bytes of fetch answers a second.
    ConsumerByteRate,
}

impl Quota {
    /// All of them.
    pub const ALL: [Quota; 2] = [Quota::ProducerByteRate, Quota::ConsumerByteRate];

    /// Kafka's name.
    pub const fn name(self) -> &'static str {
        match self {
            Quota::ProducerByteRate => "producer_byte_rate",
            Quota::ConsumerByteRate => "consumer_byte_rate",
        }
    }

    /// The quota of this name.
    pub fn of_name(name: &str) -> Option<Quota> {
        Self::ALL.into_iter().find(|quota| quota.name() == name)
    }
}

/// The quotas of one entity.
pub type Quotas = BTreeMap<Quota, f64>;

/// All quotas that are set. An entity without any is not there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClientQuotas(BTreeMap<Option<String>, Quotas>);

impl ClientQuotas {
    /// Sets a quota of a client id, or of those that have none, or takes it away.
    pub fn set(&mut self, client_id: Option<&str>, quota: Quota, value: Option<f64>) {
        let key = client_id.map(str::to_owned);
        let quotas = self.0.entry(key.clone()).or_default();
        match value {
            Some(value) => drop(quotas.insert(quota, value)),
            None => drop(quotas.remove(&quota)),
        }
        if quotas.is_empty() {
            self.0.remove(&key);
        }
    }

    /// The quota that holds for a client id: its own, or the default.
    pub fn of_client(&self, client_id: &str, quota: Quota) -> Option<f64> {
        if self.0.is_empty() {
            return None;
        }
        let own = self.0.get(&Some(client_id.to_owned())).and_then(|quotas| quotas.get(&quota));
        own.or_else(|| self.0.get(&None).and_then(|quotas| quotas.get(&quota))).copied()
    }

    /// What is set on one entity.
    pub fn entity(&self, client_id: Option<&str>) -> Option<&Quotas> {
        self.0.get(&client_id.map(str::to_owned))
    }

    /// All entities that have quotas; the default first.
    pub fn entities(&self) -> impl ExactSizeIterator<Item = (Option<&str>, &Quotas)> {
        self.0.iter().map(|(client_id, quotas)| (client_id.as_deref(), quotas))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_its_own_quota_or_the_default() {
        let mut quotas = ClientQuotas::default();
        let (produce, consume) = (Quota::ProducerByteRate, Quota::ConsumerByteRate);
        assert_eq!(quotas.of_client("a", produce), None);
        quotas.set(None, produce, Some(10.0));
        quotas.set(Some("a"), produce, Some(5.0));
        quotas.set(Some("a"), consume, Some(7.0));
        assert_eq!(quotas.of_client("a", produce), Some(5.0));
        assert_eq!(quotas.of_client("b", produce), Some(10.0));
        assert_eq!((quotas.of_client("a", consume), quotas.of_client("b", consume)), (Some(7.0), None));
        quotas.set(Some("a"), produce, None);
        assert_eq!(quotas.of_client("a", produce), Some(10.0));
        quotas.set(Some("a"), consume, None);
        quotas.set(None, produce, None);
        assert_eq!(quotas, ClientQuotas::default());
    }
}
