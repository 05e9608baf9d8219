//! Following: each change is a line, and the API server is not asked again.

use std::time::Duration;

use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::ChildStdout,
    time,
};

use crate::rig::{Rig, status};

/// A change is told within a second; a busy machine may take longer.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn changes_are_followed_without_asking(rig: &Rig) {
    rig.release("follow", "shop", &status("Preparing")).await;
    let mut one = rig.begin("get shop -n follow -w");
    let mut all = rig.begin("get -A -w");
    let mut of_one = BufReader::new(one.stdout.take().unwrap()).lines();
    let mut of_all = BufReader::new(all.stdout.take().unwrap()).lines();
    expect(&mut of_one, "  shop  v2  Preparing  step 2/4  weight 10%").await;
    expect(&mut of_all, "  follow/shop  v2  Preparing  step 2/4").await;
    let before = rig.reads("follow");
    assert!(before > 0, "reads are not seen");
    for phase in ["Progressing", "Paused", "Promoting"] {
        rig.set_status("follow", "shop", &status(phase)).await;
        expect(&mut of_one, &format!("  shop  v2  {phase}  ")).await;
        expect(&mut of_all, &format!("  follow/shop  v2  {phase}  ")).await;
    }
    assert_eq!(rig.reads("follow"), before, "something was asked again");
    one.kill().await.unwrap();
    all.kill().await.unwrap();
}

/// Reads lines until one has the text.
async fn expect(lines: &mut Lines<BufReader<ChildStdout>>, text: &str) {
    let found = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains(text) {
                return;
            }
        }
        panic!("it ended before it told {text:?}");
    };
    let in_time = time::timeout(PATIENCE, found).await;
    assert!(in_time.is_ok(), "not told in time: {text:?}");
}
