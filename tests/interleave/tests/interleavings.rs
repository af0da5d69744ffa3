//! Every scene, under as many schedules as take a second or two.

use namegate_interleave::daemon::{flights, flush, parts, reloading, swap};
use namegate_interleave::explore::{explore, explore_all};
use namegate_interleave::front::drain;
use namegate_interleave::telemetry::ledger;

#[test]
fn leaders_come_and_go() {
    explore(2000, flights::leaders_come_and_go);
}

#[test]
fn more_leaders_leave_than_one_waits_for() {
    explore(500, flights::more_leaders_leave_than_one_waits_for);
}

#[test]
fn tasks_are_aborted() {
    explore(2000, flights::tasks_are_aborted);
}

#[test]
fn a_name_is_revoked_and_allowed_again() {
    explore(500, swap::a_name_is_revoked_and_allowed_again);
}

#[test]
fn a_fresh_answer_is_flushed() {
    explore(500, flush::a_fresh_answer_is_flushed);
}

#[test]
fn a_stale_answer_is_flushed() {
    explore(500, flush::a_stale_answer_is_flushed);
}

#[test]
fn a_late_answer_is_not_displaced() {
    explore(500, flush::a_late_answer_is_not_displaced);
}

#[test]
fn a_close_loses_nothing() {
    explore(500, ledger::a_close_loses_nothing);
}

#[test]
fn whoever_looks_sees_what_was_put() {
    explore(500, ledger::whoever_looks_sees_what_was_put);
}

#[test]
fn what_is_wanted_wakes_the_writer() {
    explore(500, ledger::what_is_wanted_wakes_the_writer);
}

#[test]
fn a_handle_that_is_dropped_ends_the_writer() {
    explore(500, ledger::a_handle_that_is_dropped_ends_the_writer);
}

#[test]
fn each_is_told_of_a_look_after_his_poke() {
    explore(300, reloading::each_is_told_of_a_look_after_his_poke);
}

#[test]
fn a_file_that_is_refused_is_told_of_as_well() {
    explore(300, reloading::a_file_that_is_refused_is_told_of_as_well);
}

#[test]
fn whoever_was_taken_is_answered() {
    explore(500, drain::whoever_was_taken_is_answered);
}

#[test]
fn all_that_comes_is_answered() {
    explore(500, drain::all_that_comes_is_answered);
}

#[test]
fn a_writer_who_falls_asleep_is_woken() {
    explore_all(200_000, ledger::a_writer_who_falls_asleep_is_woken);
}

#[test]
fn a_policy_is_known_until_its_last_query_is_written() {
    explore(
        500,
        ledger::a_policy_is_known_until_its_last_query_is_written,
    );
}

#[test]
fn one_leaves_some_to_the_next() {
    explore(1000, parts::one_leaves_some_to_the_next);
}
