//! What members of a consumer group tell each other: subscriptions and assignments (Kafka's `ConsumerProtocol`, version
//! 0), and the range assignment by which the leader divides a topic.

use bytes::Bytes;
use wire::kafka::{DecodeError, Reader, Writer};

/// The subscription of a member to one topic.
pub(super) fn subscription(topic: &str) -> Bytes {
    let mut writer = Writer::new();
    writer.put_i16(0);
    writer.put_i32(1);
    put_string(&mut writer, topic);
    writer.put_i32(-1);
    writer.finish().into_contiguous()
}

/// The topics of a member's subscription, of any version: what later versions add comes behind.
pub(super) fn topics(bytes: Bytes) -> Result<Vec<String>, DecodeError> {
    let mut reader = Reader::new(bytes);
    reader.i16()?;
    let count = reader.i32()?;
    (0..count).map(|_| string(&mut reader)).collect()
}

/// The assignment of partitions of one topic to a member.
pub(super) fn assignment(topic: &str, partitions: &[i32]) -> Bytes {
    let mut writer = Writer::new();
    writer.put_i16(0);
    writer.put_i32(i32::from(!partitions.is_empty()));
    if !partitions.is_empty() {
        put_string(&mut writer, topic);
        writer.put_i32(partitions.len() as i32);
        for partition in partitions {
            writer.put_i32(*partition);
        }
    }
    writer.put_i32(-1);
    writer.finish().into_contiguous()
}

/// The partitions of one topic in an assignment.
pub(super) fn partitions(bytes: Bytes, topic: &str) -> Result<Vec<i32>, DecodeError> {
    let mut assigned = Vec::new();
    if bytes.is_empty() {
        return Ok(assigned);
    }
    let mut reader = Reader::new(bytes);
    reader.i16()?;
    for _ in 0..reader.i32()? {
        let name = string(&mut reader)?;
        for _ in 0..reader.i32()? {
            let partition = reader.i32()?;
            if name == topic {
                assigned.push(partition);
            }
        }
    }
    Ok(assigned)
}

/// Divides the partitions 0 to `count` − 1 among members, in the order of their ids: as even as it goes, in runs.
pub(super) fn range(count: i32, mut members: Vec<String>) -> Vec<(String, Vec<i32>)> {
    members.sort();
    let among = members.len().max(1) as i32;
    let (each, extra) = (count / among, count % among);
    let mut next = 0;
    let run = |(place, member): (usize, String)| {
        let length = each + i32::from((place as i32) < extra);
        let partitions = (next..next + length).collect();
        next += length;
        (member, partitions)
    };
    members.into_iter().enumerate().map(run).collect()
}

fn put_string(writer: &mut Writer, text: &str) {
    writer.put_i16(text.len() as i16);
    writer.put_slice(text.as_bytes());
}

fn string(reader: &mut Reader) -> Result<String, DecodeError> {
    let length = usize::try_from(reader.i16()?).map_err(|_| DecodeError::Length)?;
    Ok(String::from_utf8_lossy(&reader.slice(length)?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions_and_assignments_read_back() {
        assert_eq!(topics(subscription("orders")).unwrap(), ["orders"]);
        assert_eq!(partitions(assignment("orders", &[1, 4]), "orders").unwrap(), [1, 4]);
        assert_eq!(partitions(assignment("orders", &[1, 4]), "other").unwrap(), Vec::<i32>::new());
        assert_eq!(partitions(assignment("orders", &[]), "orders").unwrap(), Vec::<i32>::new());
        assert_eq!(partitions(Bytes::new(), "orders").unwrap(), Vec::<i32>::new());
        assert!(partitions(Bytes::from_static(&[0, 0, 0x7f, 0xff, 0xff, 0xff]), "x").is_err());
        assert!(topics(Bytes::from_static(&[0, 0, 0x7f, 0xff, 0xff, 0xff])).is_err());
    }

    #[test]
    fn ranges_cover_every_partition_once() {
        let members = || vec!["b".to_owned(), "a".to_owned(), "c".to_owned()];
        let runs = range(7, members());
        assert_eq!(runs[0], ("a".to_owned(), vec![0, 1, 2]));
        assert_eq!(runs[2], ("c".to_owned(), vec![5, 6]));
        assert_eq!(range(2, members())[2].1, Vec::<i32>::new());
    }
}
