//! The command line against a real Kubernetes; the tests play the controller's part by hand.

// Only code under this attribute counts as test code for the lints.
#[cfg(test)]
mod doctor;
#[cfg(test)]
mod follow;
#[cfg(test)]
mod hooks;
#[cfg(test)]
mod look;
#[cfg(test)]
mod manifests;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod steer;
#[cfg(test)]
mod terminal;

#[cfg(test)]
mod kube {
    use super::{doctor, follow, hooks, look, manifests, rig::Rig, steer, terminal};

    /// One plane for all: it takes longer to start than the rest takes.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_command_line_works_on_a_cluster() {
        let rig = Rig::start().await;
        doctor::a_cluster_without_definitions_is_told(&rig).await;
        tokio::join!(
            terminal::a_terminal_rolls_out_alone(&rig),
            terminal::a_service_is_found_by_its_name(&rig),
        );
        rig.define().await;
        // It waits for half a minute.
        let (unanswered, ()) = tokio::join!(steer::unanswered(&rig), async {
            look::releases_are_shown_with_what_runs_them(&rig).await;
            look::each_command_tells_of_them(&rig).await;
            look::whose_cluster_it_is_follows_kubectls_rules(&rig).await;
            look::a_refusal_says_who_may_not_do_what(&rig).await;
            steer::commands_are_answered(&rig).await;
            steer::commands_that_wait_end_as_the_rollout_does(&rig).await;
            follow::changes_are_followed_without_asking(&rig).await;
            doctor::each_trouble_says_what_to_do(&rig).await;
            hooks::a_rollout_asks_its_hooks(&rig).await;
            terminal::a_release_gets_its_image(&rig).await;
        });
        unanswered.has(4, "no controller answered within 30 s");
        manifests::a_service_runs_and_is_rolled_out(&rig).await;
        rig.stop().await;
    }
}
