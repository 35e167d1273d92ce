//! More or fewer shards: nothing is lost, and appends go on in the new place.

use storage::types::{LogId, Offset};
use storage::{DataDir, LogSpec, StoreOptions, place_anew};

use crate::support::*;

/// Each log gets a batch on its shard, and then ends as by a kill.
fn serve(dir: &std::path::Path, shards: u32, specs: &[LogSpec], round: u64) {
    let (dir, specs) = (dir.to_path_buf(), specs.to_vec());
    run(move || async move {
        let data = DataDir::open(&dir).await.unwrap();
        let options = options(&dir);
        let place = |id: LogId| (id.0 % u64::from(shards)) as u32;
        place_anew(&data, &options, &catalog(&specs), shards, place).await.unwrap();
        assert_eq!(data.shards().await.unwrap(), Some(shards));
        for shard in 0..shards {
            let options = StoreOptions { shard, ..options.clone() };
            let (store, _) = open(options, &specs).await;
            for spec in specs.iter().filter(|spec| place(spec.id) == shard) {
                let log = store.create_log(spec.clone()).unwrap();
                assert_eq!(log.end_offset(), Offset(round as i64), "log {}", spec.id);
                let all = read_all(&log, 1000).await;
                for (offset, bytes) in all {
                    assert!(contains(&bytes, &value(offset as u64 * 100 + spec.id.0, 700)));
                }
                append(&store, &log, &batch(&value(round * 100 + spec.id.0, 700))).await;
            }
            assert!(store.log_ids().iter().all(|id| place(*id) == shard), "{:?}", store.log_ids());
        }
    });
}

#[test]
fn logs_go_on_where_they_are_placed_when_the_number_of_shards_changes() {
    let dir = folder();
    let specs: Vec<LogSpec> = (1..=13).map(spec).collect();
    for (round, shards) in [3, 3, 2, 5, 1, 4].into_iter().enumerate() {
        serve(dir.path(), shards, &specs, round as u64);
    }
    assert!(!dir.path().join("shard-4").exists());
}

#[test]
fn a_move_that_was_cut_short_is_done_again() {
    let dir = folder();
    let specs: Vec<LogSpec> = (1..=6).map(spec).collect();
    serve(dir.path(), 3, &specs, 0);
    std::fs::write(dir.path().join("shards"), "0\n").unwrap();
    serve(dir.path(), 3, &specs, 1);
}
