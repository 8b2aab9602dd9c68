//! Tests of names.

use super::*;

use crate::runtime::run_alone;

#[test]
fn a_rename_moves_the_file_and_replaces_the_target() {
    run_alone(|| async {
        let home = tempfile::tempdir().unwrap();
        let (from, to) = (home.path().join("from"), home.path().join("sub/to"));
        let directories = Directories::new();
        directories
            .create_all_synced(&home.path().join("sub"))
            .await
            .unwrap();
        fs::write(&from, b"new").unwrap();
        fs::write(&to, b"old").unwrap();
        directories.rename_and_sync(&from, &to).await.unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "new");
        assert!(!from.exists());
        let again = directories.rename_and_sync(&from, &to).await;
        assert!(again.unwrap_err().is_missing());
    });
}

#[test]
fn removing_what_is_not_there_is_fine() {
    run_alone(|| async {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        let directories = Directories::new();
        fs::write(&path, b"").unwrap();
        directories.remove(&path).await.unwrap();
        directories.remove(&path).await.unwrap();
        assert!(!path.exists());
        let error = directories.remove(home.path()).await.unwrap_err();
        assert_eq!(error.path, home.path());
    });
}

#[test]
fn a_list_tells_files_from_directories() {
    run_alone(|| async {
        let home = tempfile::tempdir().unwrap();
        let directories = Directories::new();
        let deep = home.path().join("a/b");
        directories.create_all_synced(&deep).await.unwrap();
        directories.create_all_synced(&deep).await.unwrap();
        fs::write(home.path().join("file"), b"12345").unwrap();
        let mut entries = directories.list(home.path()).await.unwrap();
        entries.sort_by(|left, right| left.name.cmp(&right.name));
        let found: Vec<_> = entries
            .iter()
            .map(|entry| (entry.name.as_str(), entry.is_directory))
            .collect();
        assert_eq!(found, [("a", true), ("file", false)]);
        assert_eq!(entries.last().map(|entry| entry.size_bytes), Some(5));
        let missing = directories.list(&home.path().join("missing")).await;
        assert!(missing.unwrap_err().is_missing());
    });
}

#[test]
fn a_second_lock_on_a_directory_is_refused_until_the_first_is_dropped() {
    let home = tempfile::tempdir().unwrap();
    let first = lock_directory(home.path()).unwrap();
    let error = lock_directory(home.path()).unwrap_err();
    assert!(error.is_locked());
    drop(first);
    drop(lock_directory(home.path()).unwrap());
}

#[test]
fn the_room_of_a_file_system_is_known() {
    let found = room(&std::env::temp_dir()).unwrap();
    assert!(found.free_bytes > 0);
    assert!(found.free_bytes <= found.total_bytes);
    assert!(room(Path::new("/nonexistent")).unwrap_err().is_missing());
}
