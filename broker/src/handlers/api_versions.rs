//! `ApiVersions`: the first request on every connection (KIP-35, KIP-511, KIP-584).

use std::rc::Rc;

use wire::kafka::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
use wire::kafka::error_code::ErrorCode;
use wire::kafka::types::Str;

use super::reply::Response;
use super::table::{self, answer};
use super::{Context, Incoming, Refusal};

/// The metadata version whose request versions are spoken (Kafka 4.3), and the oldest that could be.
const METADATA_VERSION: i16 = 30;
const METADATA_VERSION_MIN: i16 = 7;

/// Answers with the table of APIs.
pub async fn handle(
    context: &Rc<Context>,
    request: &Incoming,
    body: ApiVersionsRequest,
) -> Result<Response, Refusal> {
    if request.header.api_version >= 3 && !is_valid_software(&body) {
        let error_code = ErrorCode::InvalidRequest.code();
        return answer(request, &ApiVersionsResponse { error_code, ..Default::default() });
    }
    let metadata_version = Str::from("metadata.version");
    let body = ApiVersionsResponse {
        api_keys: api_keys(),
        supported_features: vec![SupportedFeatureKey {
            name: metadata_version.clone(),
            min_version: METADATA_VERSION_MIN,
            max_version: METADATA_VERSION,
        }],
        finalized_features_epoch: context.shard.image().version() as i64,
        finalized_features: vec![FinalizedFeatureKey {
            name: metadata_version,
            max_version_level: METADATA_VERSION,
            min_version_level: METADATA_VERSION,
        }],
        ..Default::default()
    };
    answer(request, &body)
}

/// A version that is not spoken is answered in version 0, with the one entry that tells which are (KIP-511).
pub fn unsupported(request: &Incoming) -> Response {
    let mut header = request.header.clone();
    header.api_version = 0;
    let body = ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion.code(),
        api_keys: api_keys().into_iter().filter(|entry| entry.api_key == request.key as i16).collect(),
        ..Default::default()
    };
    Response::encode(request.key, &header, &body, &mut [])
}

fn api_keys() -> Vec<ApiVersion> {
    let entry = |row: &table::Row| ApiVersion {
        api_key: row.key as i16,
        min_version: *row.advertised.start(),
        max_version: *row.advertised.end(),
    };
    table::rows().iter().map(entry).collect()
}

/// Name and version of the client's software: letters, digits, dots and hyphens, as Kafka checks them.
fn is_valid_software(body: &ApiVersionsRequest) -> bool {
    let valid = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.ends_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.')
    };
    valid(&body.client_software_name) && valid(&body.client_software_version)
}
