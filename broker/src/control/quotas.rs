//! Decisions about quotas of clients (KIP-546): changes in, records or a refusal out.
//!
//! Quotas of client ids, and the default for all others. Users and addresses have none yet: there is no login.

use wire::kafka::{ErrorCode, Str};

use crate::control::commands::{AlterClientQuotas, Refusal};
use crate::control::limits::QUOTA_ENTITIES_MAX;
use crate::control::topics::Decision;
use crate::metadata::client_quotas::Quota;
use crate::metadata::image::MetadataImage;
use crate::metadata::records::Record;

/// The entity type that quotas can be set on.
pub const CLIENT_ID: &str = "client-id";

/// Changes the quotas of one entity.
///
/// # Errors
/// What is wrong with the entity, the name of a quota or its value.
pub fn alter(image: &MetadataImage, alter: &AlterClientQuotas) -> Result<Decision<()>, Refusal> {
    let client_id = client_id(&alter.entity)?;
    let mut records = Vec::new();
    for (index, (name, value)) in alter.operations.iter().enumerate() {
        if alter.operations[..index].iter().any(|(known, _)| known == name) {
            return Err(twice(&alter.entity));
        }
        let quota = quota(name, *value)?;
        let set = image.client_quotas().entity(client_id).and_then(|quotas| quotas.get(&quota)).copied();
        if set != *value {
            records.push(Record::ClientQuota {
                client_id: client_id.map(str::to_owned),
                name: quota.name().to_owned(),
                value_bits: value.map(f64::to_bits),
            });
        }
    }
    let all = image.client_quotas().entities();
    let is_new = image.client_quotas().entity(client_id).is_none();
    if is_new && !records.is_empty() && all.len() >= QUOTA_ENTITIES_MAX {
        let text = format!("Quotas are set on {QUOTA_ENTITIES_MAX} client ids already.");
        return Err(Refusal::new(ErrorCode::PolicyViolation, text));
    }
    Ok(Decision { records, answer: () })
}

/// The client id, or none for the default.
fn client_id(entity: &[(Str, Option<Str>)]) -> Result<Option<&str>, Refusal> {
    match entity {
        [] => Err(invalid("Invalid empty client quota entity")),
        [(kind, name)] if kind.as_str() == CLIENT_ID => match name.as_deref() {
            Some("") => Err(invalid("Empty client-id not supported")),
            name => Ok(name),
        },
        [(kind, _), ..] if !["user", "ip", CLIENT_ID].contains(&kind.as_str()) => {
            Err(invalid(format!("Unhandled client quota entity type: {}", kind.as_str())))
        }
        _ => Err(invalid("Quotas of users and addresses are not supported yet; those of a client-id are.")),
    }
}

fn quota(name: &str, value: Option<f64>) -> Result<Quota, Refusal> {
    let quota = Quota::of_name(name).ok_or_else(|| match name {
        "request_percentage" | "controller_mutation_rate" | "connection_creation_rate" => {
            invalid(format!("The quota {name} is not supported yet."))
        }
        _ => invalid(format!("Invalid configuration key {name}")),
    })?;
    if let Some(value) = value {
        if value.is_nan() || value <= 0.0 {
            return Err(invalid(format!("Quota {name} must be greater than 0")));
        }
        if value.fract() != 0.0 || value >= i64::MAX as f64 {
            return Err(invalid(format!("{name} cannot be a fractional value.")));
        }
    }
    Ok(quota)
}

/// The refusal of an entity, or a quota of it, that comes twice.
pub fn twice(entity: &[(Str, Option<Str>)]) -> Refusal {
    let part = |(kind, name): &(Str, Option<Str>)| {
        format!("{}={}", kind.as_str(), name.as_deref().unwrap_or("null"))
    };
    let parts: Vec<String> = entity.iter().map(part).collect();
    invalid(format!("Ignoring duplicate entity ClientQuotaEntity(entries={{{}}})", parts.join(", ")))
}

fn invalid(text: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, text)
}
